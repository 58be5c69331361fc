"""Every page of the platform: one line each. A page is for customers unless its line says otherwise."""

from collections.abc import Sequence

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from cdp.access.viewer import Actor
from cdp.connectors.mail import letters
from cdp.operations.requests import guests
from cdp.web import assets
from cdp.web.account import (
    connect,
    correct,
    data,
    delete,
    display,
    download,
    export,
    external,
    factors,
    forgotten_password,
    new_password,
    overview,
    package,
    preferences,
    register,
    request,
    rights,
    second_step,
    security,
    sharing,
    sign_in,
    sign_out,
    transfers,
    verify_email,
)
from cdp.web.console import (
    bulk_exports,
    case,
    customer,
    granting,
    graphql,
    holds,
    merging,
    opening,
    ordering,
    papers,
    partners,
    queue,
    search,
    tasks,
    uploads,
)
from cdp.web.console import transfers as deals
from cdp.web.guard import Allow, Page
from cdp.web.public import device, privacy_request, processor, share, verify
from cdp.web.visit import Visit


async def _home(_: Visit) -> Response:
    return RedirectResponse("/account", status_code=303)


COPY = "/account/downloads/{reference}"
REQUEST = "/account/requests/{reference}"
SECURITY = "/account/security"
CUSTOMER = "/console/customers/{id}"
CASE = "/console/requests/{reference}"


def _factor_pages(security: str, allow: Allow) -> Sequence[Page]:
    """Where customers and staff change their second factors."""
    app, key, codes = factors.remove_authenticator, factors.remove_passkey, factors.renew_codes
    return (
        Page(
            f"{security}/authenticator",
            factors.show_authenticator,
            factors.submit_authenticator,
            allow=allow,
            fresh=True,
        ),
        Page(f"{security}/passkeys", factors.show_passkeys, factors.submit_passkey, allow=allow, fresh=True),
        Page(f"{security}/remove-authenticator", None, app, allow=allow, fresh=True, back=security),
        Page(f"{security}/remove-passkey", None, key, allow=allow, fresh=True, back=security),
        Page(f"{security}/recovery-codes", None, codes, allow=allow, fresh=True, back=security),
    )


def _external_pages(home: str, realm: Actor) -> Sequence[Page]:
    """Signing in through an external provider."""
    door = f"{home}/sign-in"
    inside = Allow.STAFF if realm is Actor.STAFF else Allow.CUSTOMER
    return (
        Page(f"{door}/provider", external.go, allow=Allow.ANYONE, realm=realm),
        Page(f"{door}/callback", external.come_back, allow=Allow.ANYONE, realm=realm),
        Page(f"{door}/welcome", external.show_welcome, external.submit_welcome, allow=Allow.ANYONE, realm=realm),
        Page(f"{door}/link", external.show_link, external.submit_link, allow=inside, fresh=True),
    )


def _work_pages() -> Sequence[Page]:
    """What people carry out: tasks of systems without an interface, paper, legal holds."""
    staff, upload = Allow.STAFF, uploads.LARGEST_BYTES
    task, paper, hold = "/console/tasks/{id}", "/console/paper/{id}", "/console/holds/{id}"
    export_, deal = "/console/exports/{id}", f"{deals.HERE}/{{id}}"
    placing, filing, order = f"{CUSTOMER}/hold", f"{CUSTOMER}/paper", f"{CUSTOMER}/order"
    return (
        Page("/console/tasks", tasks.show_list, allow=staff),
        Page(task, tasks.show, allow=staff),
        Page(f"{task}/{{what}}", None, tasks.submit, allow=staff, back=task, max_form_bytes=upload),
        Page("/console/paper", papers.show_list, allow=staff),
        Page(paper, papers.show, allow=staff),
        Page(f"{paper}/{{what}}", None, papers.submit, allow=staff, back=paper, max_form_bytes=upload),
        Page(filing, papers.show_filing, papers.file, allow=staff),
        Page("/console/exports", bulk_exports.show_list, allow=staff),
        Page(export_, bulk_exports.show, allow=staff),
        Page(f"{export_}/{{what}}", None, bulk_exports.submit, allow=staff, fresh=True, back=export_),
        Page(partners.HERE, partners.show, allow=staff),
        Page(granting.ADDING, granting.show_adding, granting.add, allow=staff, fresh=True),
        Page(granting.PROPOSING, granting.show_proposing, granting.propose, allow=staff, fresh=True),
        Page(ordering.FOLLOWING, None, ordering.disclose, allow=staff, fresh=True, back=partners.HERE),
        Page(f"{partners.HERE}/{{kind}}/{{what}}", None, partners.submit, allow=staff, fresh=True, back=partners.HERE),
        Page(deals.HERE, deals.show_list, allow=staff),
        Page(deal, deals.show, allow=staff),
        Page(f"{deal}/{{what}}", None, deals.submit, allow=staff, fresh=True, back=deal),
        Page(f"{CUSTOMER}/merge/{{other}}", merging.show, merging.submit, allow=staff, fresh=True),
        Page(f"{CUSTOMER}/merges/{{merge}}", merging.show_undo, merging.submit_undo, allow=staff, fresh=True),
        Page("/console/holds", holds.show_list, allow=staff),
        Page(hold, holds.show, allow=staff),
        Page(f"{hold}/{{what}}", None, holds.submit, allow=staff, back=hold),
        Page(order, ordering.show, ordering.submit, allow=staff, fresh=True, max_form_bytes=upload, back=order),
        Page(placing, holds.show_placing, holds.place, allow=staff, fresh=True, max_form_bytes=upload, back=placing),
    )


PAGES: Sequence[Page] = (
    Page("/", _home, allow=Allow.ANYONE),
    Page("/display", None, display.submit, allow=Allow.ANYONE),
    Page("/account/sign-in", sign_in.show, sign_in.submit, allow=Allow.ANYONE),
    Page("/account/sign-in/second", second_step.show, second_step.submit, allow=Allow.ANYONE, own=True),
    Page("/account/sign-in/passkey", None, sign_in.submit_passkey, allow=Allow.ANYONE, own=True),
    Page("/account/register", register.show, register.submit, allow=Allow.ANYONE, own=True),
    Page("/account/verify-email", verify_email.show, verify_email.submit, allow=Allow.ANYONE),
    Page(
        "/account/forgotten-password", forgotten_password.show, forgotten_password.submit, allow=Allow.ANYONE, own=True
    ),
    Page("/account/new-password", new_password.show, new_password.submit, allow=Allow.ANYONE, own=True),
    Page("/account/sign-out", sign_out.show, sign_out.submit, allow=Allow.ANYONE),
    Page("/account", overview.show),
    Page("/account/data", data.show),
    Page("/account/data/{listing}", data.show_list),
    Page("/account/correct/{id}", correct.show, correct.submit, fresh=True),
    Page(preferences.PATH, preferences.show, preferences.submit),
    Page(rights.PATH, rights.show),
    Page(rights.RESTRICT, rights.show_restriction, rights.submit_restriction, fresh=True),
    Page(rights.OBJECT, rights.show_objection, rights.submit_objection, fresh=True),
    Page(sharing.PATH, sharing.show),
    Page(sharing.NEW, sharing.show_new, sharing.submit_new, fresh=True),
    Page(f"{sharing.PATH}/revoke", None, sharing.revoke, back=sharing.PATH),
    Page(transfers.PATH, transfers.show_list),
    Page(transfers.ONE, transfers.show, transfers.submit),
    Page(share.PATH, share.show, share.submit, allow=Allow.ANYONE),
    Page("/account/download", download.show, download.submit),
    Page("/account/export", export.show, export.submit),
    Page(COPY, package.show),
    Page(f"{COPY}/events", package.progress),
    Page(f"{COPY}/file", package.fetch, back=COPY),
    Page(f"{COPY}/remove", None, package.remove, back=COPY),
    Page("/account/delete", delete.show, delete.submit, fresh=True),
    Page(REQUEST, request.show, request.submit_key, allow=Allow.ANYONE),
    Page(f"{REQUEST}/events", request.progress, allow=Allow.ANYONE),
    Page(f"{REQUEST}/undo", None, request.undo, allow=Allow.ANYONE),
    Page(f"{REQUEST}/certificate.json", request.certificate_json, allow=Allow.ANYONE),
    Page(f"{REQUEST}/certificate.pdf", request.certificate_pdf, allow=Allow.ANYONE),
    Page(f"{REQUEST}/addendum.json", request.addendum_json, allow=Allow.ANYONE),
    Page(f"{REQUEST}/verify_certificate.py", request.verifier, allow=Allow.ANYONE),
    Page(SECURITY, security.show),
    Page(f"{SECURITY}/password", security.show_password, security.submit_password, fresh=True, own=True),
    Page(f"{SECURITY}/send-link", None, security.send_proof, back=SECURITY),
    Page(f"{SECURITY}/end-session", None, security.end_session, back=SECURITY),
    Page(f"{SECURITY}/end-app", None, security.end_app, back=SECURITY),
    Page(f"{SECURITY}/end-everything", None, security.end_everything, back=SECURITY),
    *_factor_pages(SECURITY, Allow.CUSTOMER),
    Page("/privacy/request", privacy_request.show, privacy_request.submit, allow=Allow.ANYONE),
    Page(guests.CONFIRM_PAGE, privacy_request.show_confirm, privacy_request.submit_confirm, allow=Allow.ANYONE),
    Page(guests.FILE_PAGE, privacy_request.show_file, privacy_request.submit_file, allow=Allow.ANYONE),
    Page(letters.PAGE, processor.show, processor.submit, allow=Allow.ANYONE),
    Page("/verify", verify.show, verify.submit, allow=Allow.ANYONE, max_form_bytes=verify.LARGEST_BYTES),
    Page("/device", device.show, device.submit, allow=Allow.ANYONE),
    Page("/account/device", device.show_question, device.submit_question),
    Page("/console/device", device.show_question, device.submit_question, allow=Allow.STAFF),
    *_external_pages("/account", Actor.CUSTOMER),
    *_external_pages("/console", Actor.STAFF),
    Page("/account/connect", connect.show, connect.submit),
    Page("/console/sign-in", sign_in.show, sign_in.submit, allow=Allow.ANYONE, realm=Actor.STAFF),
    Page(
        "/console/sign-in/second", second_step.show, second_step.submit, allow=Allow.ANYONE, realm=Actor.STAFF, own=True
    ),
    Page("/console/sign-in/passkey", None, sign_in.submit_passkey, allow=Allow.ANYONE, realm=Actor.STAFF, own=True),
    Page("/console/security", factors.show_console, allow=Allow.STAFF),
    *_factor_pages("/console/security", Allow.STAFF),
    Page(
        "/console/new-password", new_password.show, new_password.submit, allow=Allow.ANYONE, realm=Actor.STAFF, own=True
    ),
    Page("/console/sign-out", sign_out.show, sign_out.submit, allow=Allow.ANYONE, realm=Actor.STAFF),
    Page(CUSTOMER, customer.show, allow=Allow.STAFF),
    Page(f"{CUSTOMER}/reveal", None, customer.submit_reveal, allow=Allow.STAFF, fresh=True, back=CUSTOMER),
    Page(
        f"{CUSTOMER}/open",
        opening.show,
        opening.submit,
        allow=Allow.STAFF,
        fresh=True,
        max_form_bytes=opening.LARGEST_BYTES,
        back=f"{CUSTOMER}/open",
    ),
    *_work_pages(),
    Page("/console/requests", queue.show, allow=Allow.STAFF),
    Page("/console/requests/next", queue.show_next, allow=Allow.STAFF),
    Page(CASE, case.show, allow=Allow.STAFF),
    Page(f"{CASE}/{{decision}}", None, case.submit, allow=Allow.STAFF, back=CASE),
    Page("/console/graphql", graphql.show, allow=Allow.STAFF),
    Page("/console", search.show, search.submit, allow=Allow.STAFF),
    Page("/console/connect", connect.show, connect.submit, allow=Allow.STAFF),
)


def routes() -> list[BaseRoute]:
    """The routes of all pages and of their static files."""
    return [assets.route, *(page.route() for page in PAGES)]
