from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    r"""A rule of an audit, in SQL.

    Args:
        name: What reports call it.
        title: What a finding is, in words.
        unit: What is counted: :obj:`"rows"`, :obj:`"cells"`, :obj:`"contexts"`
            or :obj:`"links"`.
        checked: A query of how many were looked at.
        findings: A query of :obj:`context`, :obj:`tab`, :obj:`idx` (table and
            row) and :obj:`detail`, one line a finding.
    """

    name: str
    title: str
    unit: str
    checked: str
    findings: str
