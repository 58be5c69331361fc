"""What the status page says about a request that is no deletion: one heading, one sentence, one way back."""

from collections.abc import Mapping
from dataclasses import dataclass

from cdp.operations.requests.request_views import RequestView
from cdp.tables.request import RequestStatus, RequestType

S, R = RequestStatus, RequestType


@dataclass(frozen=True)
class Said:
    """The box at the top of the page; ``reason`` in the words of whoever decided."""

    tone: str
    heading: str
    text: str
    reason: str | None = None


TITLE: Mapping[RequestType, str] = {
    R.ACCESS: "Your copy",
    R.PORTABILITY: "Your copy",
    R.ERASURE: "Your deletion",
    R.RECTIFICATION: "Your correction",
    R.RESTRICTION: "Your restriction",
    R.OBJECTION: "Your objection",
}
UNDO: Mapping[RequestType, str] = {
    R.ACCESS: "Stop making the copy",
    R.PORTABILITY: "Stop making the copy",
    R.ERASURE: "Keep my account: call the deletion off",
    R.RECTIFICATION: "Call the correction off",
    R.RESTRICTION: "End the restriction: use my data again",
    R.OBJECTION: "Take the objection back",
}
DONE: Mapping[RequestType, str] = {
    R.ACCESS: "The link to your copy is in your mailbox, or on the page of your copies if you have an account.",
    R.PORTABILITY: "The link to your copy is in your mailbox, or on the page of your copies if you have an account.",
    R.ERASURE: "Your data is deleted.",
    R.RECTIFICATION: "The value is corrected here, and in every system below that takes corrections.",
    R.RESTRICTION: "We use your data again.",
    R.OBJECTION: "We no longer use your data for this.",
}
_WARNING, _NOTICE, _SUCCESS = "warning", "notice", "success"
_COMPLAIN = "You may complain to a supervisory authority or go to court."
_PLAIN: Mapping[RequestStatus, Said] = {
    S.RECEIVED: Said(_NOTICE, "We received your request", "Somebody here looks at it."),
    S.COLLECTING: Said(_NOTICE, "We collect your data", "From every system below; you need not wait here."),
    S.PACKING: Said(_NOTICE, "We pack your copy", "It takes a moment."),
    S.APPLYING: Said(_NOTICE, "We correct it everywhere", "In every system below that takes corrections."),
    S.IN_FORCE: Said(_SUCCESS, "Your data is kept and not used", "We use it for your own requests and nothing else."),
    S.NEEDS_ATTENTION: Said(_WARNING, "A person is looking at it", "One of the systems could not finish by itself."),
    S.CANCELLED: Said(_SUCCESS, "You called it off", "Nothing more happens."),
}


def said(view: RequestView) -> Said:
    """What to say about where a request stands."""
    match view.status:
        case S.COMPLETED:
            return Said(_SUCCESS, "It is done", DONE[view.type])
        case S.REFUSED:
            return Said(_WARNING, "We can not do this", _COMPLAIN, view.refusal_reason)
        case S.FAILED:
            return Said(_WARNING, "We could not finish it", _COMPLAIN, view.refusal_reason)
        case S.PAUSED:
            return Said(_WARNING, "The work on it rests", "The time the law gives us runs on.", view.pause_reason)
        case S.LIFTING:
            until = f"{view.cooling_off_until:%-d %B %Y}" if view.cooling_off_until else "soon"
            text = f"From {until} we use your data again. If you do not agree, write to us before. {_COMPLAIN}"
            return Said(_WARNING, "The restriction is about to end", text, view.refusal_reason)
    return _PLAIN.get(view.status) or Said(_NOTICE, "It is under way", "You need not wait here.")
