"""`bridge send`: a message by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli.client import connect
from bridge.cli.options import ServerConfig
from bridge.cli.terminal import Exit, UsageError, fail, print_line
from bridge.model import MediaKind

_LONGEST_WAIT: Final = 60
_FAILED: Final = frozenset({"failed", "expired"})


def send(
    to: str,
    text: str | None = None,
    *,
    via: str,
    content: str | None = None,
    template: str | None = None,
    language: str | None = None,
    file: Path | None = None,
    caption: str | None = None,
    mime_type: str | None = None,
    media: MediaKind | None = None,
    key: str | None = None,
    otherwise: str | None = None,
    fallback: tuple[str, ...] = (),
    not_before: str | None = None,
    expires: str | None = None,
    adapt: Literal["degrade", "strict"] = "degrade",
    force: bool = False,
    wait: Annotated[float, Parameter(validator=Number(gte=0, lte=_LONGEST_WAIT))] = 10,
    dry_run: bool = False,
    config: ServerConfig = None,
) -> int:
    """Send a message through a running server.

    Prints our id of the message, and how far it has come, as `accepted`, or why it failed.

    Example: `bridge send +16505551234 "Your parcel has left." --via whatsapp --dry-run`

    Parameters
    ----------
    to
        A phone number with its country's code, or the provider's user id.
    text
        What to say.
    via
        The adapter, the account or the channel to send through, or ADAPTER:ACCOUNT.
    content
        Instead of a text, a content as in events, such as '{"kind": "location", ...}'.
    template
        The name of a template to send instead of a text.
    language
        The language of the template, and of the one in --otherwise.
    file
        The path of a file to send instead of a text, of up to 100 MiB.
    caption
        What to say with the file.
    mime_type
        The file's type, where its name does not tell.
    media
        As what to show the file, by default as its type says.
    key
        Names what is meant: the same again under this key is not sent twice.
    otherwise
        The template to send where the provider takes only one: its name, or all of it as JSON.
    fallback
        Where to try next if the user cannot be reached there; can be repeated.
    not_before
        Send it at this time at the earliest, or after such as 1h.
    expires
        Give it up at this time, or after such as 1h.
    adapt
        With strict, refuse what the channel can only carry degraded or in parts.
    force
        Send a marketing template also to a user who has opted out.
    wait
        How many seconds to wait for the provider.
    dry_run
        Print the requests that would go out, without their secrets, and send nothing.
    """
    what = _what(text, content, template, language, file)
    if file is None and (caption or media or mime_type):
        raise UsageError("--caption, --media and --mime-type are for a --file")
    given = {
        "key": key,
        "otherwise": None if otherwise is None else _otherwise(otherwise, language),
        "not_before": not_before,
        "expires": expires,
        "adapt": adapt,
        "force": force,
    }
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    asked = {"to": to, "via": via, "fallback": list(fallback), "wait": wait, **what, **body}
    client = connect(config)
    if file is None:
        answer = client.post("/send", **asked, dry_run=dry_run)
    else:
        message = {**asked, "caption": caption, "media": media, "dry_run": dry_run}
        with _opened(file) as opened:
            answer = client.post_file("/send", message, opened, mime_type)
    if dry_run:
        for request in answer["requests"]:
            sys.stdout.write(orjson.dumps(request, option=orjson.OPT_INDENT_2).decode() + "\n")
        return Exit.OK
    return _told(answer)


def _what(
    text: str | None,
    content: str | None,
    template: str | None,
    language: str | None,
    file: Path | None,
) -> Mapping[str, object]:
    if sum(each is not None for each in (text, content, template, file)) != 1:
        raise UsageError("give either a text, --content, --template or --file")
    if file is not None:
        return {}
    if template is not None:
        return {"content": _named(template, language)}
    return {"text": text} if content is None else {"content": _json("content", content)}


def _otherwise(given: str, language: str | None) -> object:
    """Return a template that is given by its name, or as JSON, which no name looks like."""
    if given.lstrip().startswith("{"):
        return _json("otherwise", given)
    return _named(given, language)


def _named(template: str, language: str | None) -> Mapping[str, str]:
    named = {"kind": "template", "name": template, "language": language}
    return {name: value for name, value in named.items() if value is not None}


def _json(option: str, given: str) -> object:
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--{option} is not JSON: {error.msg}") from None


def _opened(file: Path) -> BinaryIO:
    try:
        if file.is_file():
            return file.open("rb")
    except OSError as error:
        raise UsageError(f"--file: {file} cannot be read: {error.strerror}") from None
    raise UsageError(f"--file: {'no regular file' if file.exists() else 'nothing'} is at {file}")


def _told(answer: Mapping[str, Any]) -> int:
    outcome = answer.get("outcome") or {}
    status = outcome.get("current") or "pending"
    print_line(answer["message_id"], status, "" if answer["is_new"] else "sent before")
    if status not in _FAILED:
        return Exit.OK
    error = outcome.get("error") or {}
    fail(" ".join(str(error[each]) for each in ("code", "title") if error.get(each)) or status)
    return Exit.FAILURE
