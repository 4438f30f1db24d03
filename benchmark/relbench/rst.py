r"""Tables of reports as Markdown, and Markdown as reStructuredText."""

import re


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    r"""The lines of a table, numbers to the right of its first column.

    Example:
        >>> markdown(['a', 'b'], [['x', '1']])
        ['| a | b |', '| --- | ---: |', '| x | 1 |']
    """
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return [f'| {" | ".join(line)} |' for line in lines]


def to_rst(markdown: str) -> str:
    r"""Titles and tables of Markdown as reStructuredText.

    Example:
        >>> print(to_rst('## A\n\n| a | b |\n| --- | ---: |\n| 1 | *c* |'))
        A
        ~
        <BLANKLINE>
        .. csv-table::
           :header: "a", "b"
        <BLANKLINE>
           "1", "*c*"
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
            cells = ', '.join(f'"{cell.strip()}"' for cell in line[1:-1].split('|'))
            if in_table:
                out.append(f'   {cells}')
            else:
                out += ['.. csv-table::', f'   :header: {cells}', '']
            in_table = True
        else:
            in_table = False
            out.append(line)
    return '\n'.join(out) + '\n'
