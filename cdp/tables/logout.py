"""Logout notices: what apps are told when a session ends, as rows that are delivered after the commit.

A notice outlives the person's rows, since an erasure is announced too; it names them by id alone, and that goes as soon
as the notice is settled. Source: OpenID Connect Back-Channel Logout 1.0,
https://openid.net/specs/openid-connect-backchannel-1_0.html
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Uuid

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, timestamp


class NoticeStatus(StrEnum):
    """Life of a logout notice."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


N = NoticeStatus
NOTICE_TRANSITIONS: Mapping[NoticeStatus, frozenset[NoticeStatus]] = {
    N.QUEUED: frozenset({N.SENDING}),
    N.SENDING: frozenset({N.SENDING, N.SENT, N.QUEUED, N.FAILED}),
    N.SENT: frozenset(),
    N.FAILED: frozenset(),
}

logout_notice = Table(
    "logout_notice",
    metadata,
    id_column(),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False),
    # No foreign keys: both may be gone by the time this is sent.
    Column("session_id", Uuid, nullable=False),
    Column("subject", Uuid),
    Column("subject_ref", Uuid),
    Column("status", enum_type(NoticeStatus, "notice_status"), nullable=False, server_default="queued"),
    Column("code", String(60)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    timestamp("next_run_at", now=True),
    timestamp("created_at", now=True),
    timestamp("settled_at", nullable=True),
)

Index("logout_notice_client_id_session_id_key", logout_notice.c.client_id, logout_notice.c.session_id, unique=True)
Index("logout_notice_due_idx", logout_notice.c.next_run_at, postgresql_where="status IN ('queued', 'sending')")
Index(None, logout_notice.c.settled_at)
foreign_key_indexes(logout_notice)
