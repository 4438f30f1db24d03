r"""Markdown of a report as reStructuredText."""

import re


def to_rst(markdown: str) -> str:
    r"""Titles and tables of Markdown as reStructuredText.

    Example:
        >>> print(to_rst('## A\n\n| a | b |\n| --- | ---: |\n| 1 | *c* |'))
        A
        ~
        <BLANKLINE>
        .. list-table::
           :header-rows: 1
        <BLANKLINE>
           * - a
             - b
           * - 1
             - *c*
        <BLANKLINE>
    """
    out: list[str] = []
    in_table = False
    for line in markdown.splitlines():
        if line.startswith('## '):
            out += [line[3:], '~' * len(line[3:])]
        elif re.fullmatch(r'\| ---.*', line):
            continue
        elif line.startswith('|'):
            if not in_table:
                out += ['.. list-table::', '   :header-rows: 1', '']
            in_table = True
            first, *rest = (cell.strip() for cell in line[1:-1].split('|'))
            out += [f'   * - {first}', *(f'     - {cell}'.rstrip() for cell in rest)]
        else:
            in_table = False
            out.append(line)
    return '\n'.join(out) + '\n'
