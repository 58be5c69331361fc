"""arq functions, one a file: claim, operate, settle, ring next. A job carries a row's id and may run twice."""

from cdp.jobs.advance_request import advance_request
from cdp.jobs.announce_logout import announce_logout
from cdp.jobs.call_controller import call_controller
from cdp.jobs.close_request import close_request
from cdp.jobs.job import Job
from cdp.jobs.pack_export import pack_export
from cdp.jobs.purge import purge
from cdp.jobs.remove_export import remove_export
from cdp.jobs.run_task import run_task
from cdp.jobs.send_message import send_message
from cdp.jobs.work_on_asked import work_on_asked

JOBS: tuple[Job, ...] = (
    run_task,
    pack_export,
    advance_request,
    close_request,
    remove_export,
    send_message,
    announce_logout,
    purge,
    work_on_asked,
    call_controller,
)

__all__ = ["JOBS"]
