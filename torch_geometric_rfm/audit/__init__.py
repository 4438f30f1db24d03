r"""Checks contexts against the raw tables of their database, by SQL."""

from torch_geometric_rfm.audit.auditor import ContextAuditor
from torch_geometric_rfm.audit.draw import audit_task
from torch_geometric_rfm.audit.raw_tables import RawTables
from torch_geometric_rfm.audit.report import AuditReport, Finding, RuleResult

__all__ = [
    'AuditReport',
    'ContextAuditor',
    'Finding',
    'RawTables',
    'RuleResult',
    'audit_task',
]
