"""What onhand says, in Markdown: how a request stands, and the description of a change. The same on every platform. Pure.

The agent's words go through `markdown.harmless`; what stands around them is written here. A platform whose markup is
another one turns this Markdown into it.
"""

import re
from collections.abc import Sequence

from bot.core.deliveries import address
from bot.core.markdown import closes_nothing, code, cut, harmless, line, plain
from bot.core.outbound import Change, OpenChange, Outcome, Status, Task
from bot.core.ports import Proposal

LONGEST_TITLE = 250
"""Characters of a change's title that every forge takes."""

LONGEST_PATCH = 50_000
"""Characters of a patch that a message shows."""

LONGEST_SAID = 60_000
"""Characters of a message, where the platform does not take fewer."""

_FILES_SHOWN, _TASKS_SHOWN, _CHOICES_SHOWN = 60, 40, 10
_SUMMARY, _EARLIER = 30_000, 4_000
"""Characters of a change's summary, and how many of them may tell of the runs before the latest."""
_BOX = {"todo": " ", "in_progress": " ", "done": "x"}
_LOGIN = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,250}[A-Za-z0-9_])?", re.ASCII)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S[^\n]*", re.MULTILINE)
_FITTING = re.compile(r"descri|summary|overview|what|change|purpose|why|motivation|about|proposed", re.IGNORECASE)

_HEADLINES = {
    "refused": "**I did not start.**",
    "stopped": "**Stopped.**",
    "limit": "**I reached a limit before the work was done.**",
    "failed": "**I could not finish this.**",
}
_REASONS = {
    "steps": "The limit on steps was reached.",
    "cost": "The limit on cost was reached.",
    "minutes": "The limit on time was reached.",
    "time": "The limit on time was reached.",
    "model": "The language model did not answer as it should.",
    "sandbox": "The sandbox did not do as it should.",
    "provider": "The platform did not do what was asked.",
    "stuck": "I was going round in circles.",
}
_NEXT = {
    "stopped": "Write `{handle} retry` to go on, or say what to do instead.",
    "limit": "Write `{handle} retry` to go on from here.",
    "failed": "Write `{handle} retry` to try again. If it fails again, show the run's id to whoever runs onhand.",
}


def status_markdown(status: Status, handle: str, longest: int = LONGEST_SAID) -> str:
    """Return the message that shows how a request stands, without the patch; at most `longest` characters."""
    text = "\n\n".join(part for part in _PARTS[status.state](status, handle) if part)
    return cut(text, longest)


def messages(
    status: Status, topic: str, handle: str, longest: int = LONGEST_SAID, longest_patch: int = LONGEST_PATCH
) -> dict[str, str]:
    """Return by topic the message that shows how a request stands, and one with the patch where the work is one."""
    texts = {topic: status_markdown(status, handle, longest)}
    return {**texts, f"{topic}:patch": patch_markdown(status, longest_patch)} if status.patch else texts


def change_of(proposal: Proposal, closes: str) -> OpenChange:
    """Return the change for a pushed branch, described in the form of the repository's own template if it has one.

    `closes` is what the forge obeys by closing the issue, such as `Fixes #12`; "" where there is none to close.
    """
    title = plain(line(proposal.title)) or f"Changes for {proposal.thread.item}"
    text = "\n\n".join(part for part in _description(proposal, closes) if part)
    return OpenChange(
        topic=proposal.topic,
        thread=proposal.thread,
        repository=proposal.source.repository,
        head=proposal.branch,
        base=proposal.source.base,
        title=line(title, LONGEST_TITLE),
        body=cut(filled(proposal.source.template, text), LONGEST_SAID),
        draft=proposal.draft,
        commit=proposal.change.commit,
    )


def summary_of(texts: Sequence[str]) -> str:
    """Return the summary of a change out of those of its runs, oldest first; of those before the last, the ones that have room."""
    *earlier, last = (text.strip() for text in texts)
    room, told = min(_EARLIER, _SUMMARY - len(last)), [last]
    for text in reversed(earlier):
        room -= len(text) + 2
        if room < 0:
            break
        told.insert(0, text)
    return "\n\n".join(text for text in told if text)


def asked_here(proposal: Proposal) -> bool:
    """Whether it was asked in the repository that the change is for."""
    thread, repository = proposal.thread, proposal.source.repository
    return thread.service == repository.service and thread.place.casefold() == repository.name.casefold()


def filled(template: str, text: str) -> str:
    """Return the template with our text under the first heading that asks for it; all else stays as it is."""
    if not template.strip():
        return text
    headings = list(_HEADING.finditer(_without_comments(template)))
    if not headings:
        return f"{text}\n\n{template.strip()}\n"
    place = next((h for h in headings if _FITTING.search(h[0])), headings[0]).end()
    return f"{template[:place]}\n\n{text}\n{template[place:]}"


def lasting(status: Status) -> str:
    """Return for how long nothing new has happened; "" where that is not worth a word."""
    return f", for {status.quiet_minutes} minutes so far" if status.quiet_minutes else ""


# --- the status message ---------------------------------------------------------------------------------------------


def _queued(status: Status, handle: str) -> list[str]:
    place = "" if status.ahead is None else f": {_place(status.ahead)}"
    return [f"On it{place}{lasting(status)}. I will write here how it goes.", line(status.step), _details(status)]


def _place(ahead: int) -> str:
    """Say a place in the line; the first waits as well, for a run of somebody else's to end."""
    return f"{ahead} request{' is' if ahead == 1 else 's are'} before yours" if ahead else "yours is next in line"


def _running(status: Status, handle: str) -> list[str]:
    step = code(status.step)
    last = f"Last step: {step}{lasting(status)}" if step else ""
    return ["**Working on it.**", _task_list(status.tasks), last, _figures(status)]


def _ended(status: Status, handle: str) -> list[str]:
    outcome = status.outcome or Outcome("failed", "unknown")
    said = cut(harmless(outcome.text.strip()), LONGEST_SAID)
    unseen = harmless(line(status.unseen, 2_000))
    change = _link(_change_name(status.change_url), status.change_url)
    if outcome.ending == "finished":
        headline = f"**Done:** {change}" if change else "**Done.**"
        return [headline, _open_tasks(status.tasks), _figures(status), unseen, said]
    late = outcome.ending == "refused" and status.steps > 0
    headline = _HEADLINES["failed" if late else outcome.ending]
    reason = _REASONS.get(outcome.reason, "")
    after = _NEXT.get(outcome.ending, "").format(handle=handle)
    so_far = f"The work so far: {change}" if change else ""
    shown = status.tasks if late or outcome.ending != "refused" else ()
    return [headline, reason, so_far, _task_list(shown), after, _figures(status), unseen, said]


def _asking(status: Status, handle: str) -> list[str]:
    how = f"Answer with {code(f'{handle} repo=owner/name')}."
    rows = [f"- {code(choice)}" for choice in status.choices[:_CHOICES_SHOWN]]
    return [f"**{harmless(line(status.question))}**", "\n".join(rows), how]


_PARTS = {"queued": _queued, "running": _running, "asking": _asking, "ended": _ended}


def _task_list(tasks: tuple[Task, ...]) -> str:
    rows = [_task_row(task) for task in tasks[:_TASKS_SHOWN]]
    if len(tasks) > _TASKS_SHOWN:
        rows.append(f"- and {len(tasks) - _TASKS_SHOWN} more")
    return "\n".join(rows)


def _task_row(task: Task) -> str:
    title = harmless(line(task.title))
    return f"- [{_BOX[task.status]}] {f'**{title}**' if task.status == 'in_progress' else title}"


def _open_tasks(tasks: tuple[Task, ...]) -> str:
    """The task list where it still has something to say: when not all of it was done."""
    return _task_list(tasks) if any(task.status != "done" for task in tasks) else ""


def _figures(status: Status) -> str:
    parts = [f"run {code(status.run_id, 80)}"] if status.run_id else []
    if status.steps:
        parts.append(f"{status.steps} step{'s' if status.steps != 1 else ''}")
    if status.cost_usd:
        parts.append(f"{status.cost_usd:.2f} USD")
    if details := _details(status):
        parts.append(details)
    return " · ".join(parts)


def _details(status: Status) -> str:
    return _link("details", status.details_url)


def _change_name(url: str) -> str:
    head, _, number = url.rstrip("/").rpartition("/")
    name, sign = ("merge request", "!") if head.endswith("/merge_requests") else ("pull request", "#")
    return f"{name} {sign}{number}" if number.isdigit() else name


def _link(name: str, url: str) -> str:
    return f"[{name}]({url})" if address(url) else ""


def patch_markdown(status: Status, longest: int = LONGEST_PATCH) -> str:
    """Return the patch folded away, in a fence that it cannot leave; at most `longest` characters of it."""
    patch = status.patch
    how = status.patch_flaw or "Save it as `onhand.patch`, and apply it with `git am onhand.patch`."
    if len(patch) > longest:
        how = (
            f"It is too long for a comment: of {len(patch):,} characters only the first {longest:,} stand here, "
            "so it cannot be applied as it is."
        )
    shown = fenced(patch[:longest])
    return f"**The work as a patch.** {how}\n\n<details><summary>Show the patch</summary>\n\n{shown}\n\n</details>"


def fenced(patch: str) -> str:
    """Return the patch in a fence that it cannot leave, without blank lines at its end: git's own text ends with words."""
    fence = "`" * max(4, 1 + max(map(len, re.findall("`+", patch)), default=0))
    return f"{fence}diff\n{patch.rstrip(chr(10))}\n{fence}"


# --- the change -----------------------------------------------------------------------------------------------------


def _description(proposal: Proposal, closes: str) -> list[str]:
    summary = cut(closes_nothing(harmless(proposal.summary.strip())), _SUMMARY)
    return [summary, closes, _subjects(proposal.change), _files(proposal.change), _requested(proposal)]


def _subjects(change: Change) -> str:
    if len(change.subjects) < 2:
        return ""
    rows = [f"- {closes_nothing(harmless(line(subject)))}" for subject in change.subjects[:_FILES_SHOWN]]
    return "Commits:\n\n" + "\n".join(rows)


def _files(change: Change) -> str:
    if not change.files:
        return ""
    rows = [f"- {code(path, 300)} (+{added} -{removed})" for path, added, removed in change.files[:_FILES_SHOWN]]
    if len(change.files) > _FILES_SHOWN:
        rows.append(f"- and {len(change.files) - _FILES_SHOWN} more files")
    added, removed = sum(file[1] for file in change.files), sum(file[2] for file in change.files)
    count = f"{len(change.files)} file{'s' if len(change.files) != 1 else ''}"
    return f"Changed: {count}, +{added} -{removed}\n\n" + "\n".join(rows)


def _requested(proposal: Proposal) -> str:
    """Name who asked. The only person whom a text of ours may notify."""
    name = proposal.requested_by
    known = proposal.thread.service == proposal.source.repository.service and _LOGIN.fullmatch(name)
    by = f"@{name}" if known else harmless(line(name))
    here = _link("here", proposal.request_url)
    parts = [
        f"Requested by {by}" if by else "Requested",
        here,
        f"run {code(proposal.run_id, 80)}" if proposal.run_id else "",
    ]
    return " · ".join(part for part in parts if part)


def _without_comments(template: str) -> str:
    """Return the template, equally long, with HTML comments and fenced blocks blanked: headings in them are none."""
    hidden = re.compile(r"<!--.*?(?:-->|\Z)|^(`{3,}|~{3,}).*?(?:^\1|\Z)", re.DOTALL | re.MULTILINE)
    return hidden.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), template)
