"""What onhand says on GitHub: the status comment of a request, and the title and text of a pull request. Pure.

The agent's words go through `markdown.harmless`; what stands around them is written here. The hidden mark is put on by
the client, on everything that it posts.
"""

import re

from bot.core.inbound import Thread
from bot.core.outbound import Call, Change, OpenChange, Outcome, Say, Status, Task
from bot.core.ports import Proposal
from integrations.github.markdown import closes_nothing, code, cut, harmless, line

LONGEST_TITLE = 256
"""Characters that GitHub takes as a title."""

LONGEST_PATCH = 50_000
"""Characters of a patch that a comment shows."""

_LONGEST_SAID = 60_000
_FILES_SHOWN, _TASKS_SHOWN = 60, 40
_BOX = {"todo": " ", "in_progress": " ", "done": "x"}
_ADDRESS = re.compile(r"https?://[^\s<>()\[\]\"'`\\]{1,1000}")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?(?:_[A-Za-z0-9]+)?")
_HEADING = re.compile(r"#{1,6}[ \t]+\S[^\n]*", re.MULTILINE)
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
    "provider": "GitHub did not do what was asked.",
    "stuck": "I was going round in circles.",
}
_NEXT = {
    "stopped": "Write `{handle} retry` to go on, or say what to do instead.",
    "limit": "Write `{handle} retry` to go on from here.",
    "failed": "Write `{handle} retry` to try again. If it fails again, show the run's id to whoever runs onhand.",
}


def render(thread: Thread, status: Status, topic: str, beneath: str, handle: str) -> list[Call]:
    """Return the one comment that shows how a request stands, and one with the patch where the work is one."""
    text = "\n\n".join(part for part in _PARTS[status.state](status, handle) if part)
    calls: list[Call] = [Say(topic=topic, thread=thread, text=cut(text, _LONGEST_SAID), beneath=beneath)]
    if status.patch:
        calls.append(Say(topic=f"{topic}:patch", thread=thread, text=_patch(status.patch), beneath=beneath))
    return calls


def propose(proposal: Proposal) -> list[Call]:
    """Return the pull request for a pushed branch, in the form of the repository's own template if it has one."""
    title = line(proposal.title) or f"Changes for {proposal.thread.item}"
    text = "\n\n".join(part for part in _description(proposal) if part)
    return [
        OpenChange(
            topic=proposal.topic,
            thread=proposal.thread,
            repository=proposal.source.repository,
            head=proposal.branch,
            base=proposal.source.base,
            title=line(title, LONGEST_TITLE),
            body=cut(filled(proposal.source.template, text), _LONGEST_SAID),
            draft=proposal.draft,
        )
    ]


def filled(template: str, text: str) -> str:
    """Return the template with our text under the first heading that asks for it; all else stays as it is."""
    if not template.strip():
        return text
    headings = list(_HEADING.finditer(_without_comments(template)))
    if not headings:
        return f"{text}\n\n{template.strip()}\n"
    place = next((h for h in headings if _FITTING.search(h[0])), headings[0]).end()
    return f"{template[:place]}\n\n{text}\n{template[place:]}"


# --- the status comment ---------------------------------------------------------------------------------------------


def _queued(status: Status, handle: str) -> list[str]:
    before = f"{status.ahead} request{' is' if status.ahead == 1 else 's are'} before yours"
    first = f"On it: {before}." if status.ahead else "On it."
    return [f"{first} I will write here how it goes.", line(status.step), _details(status)]


def _running(status: Status, handle: str) -> list[str]:
    step = code(status.step)
    return ["**Working on it.**", _task_list(status.tasks), f"Last step: {step}" if step else "", _figures(status)]


def _ended(status: Status, handle: str) -> list[str]:
    outcome = status.outcome or Outcome("failed", "unknown")
    said = harmless(cut(outcome.text.strip(), _LONGEST_SAID))
    change = _link(_change_name(status.change_url), status.change_url)
    if outcome.ending == "finished":
        headline = f"**Done:** {change}" if change else "**Done.**"
        return [headline, _open_tasks(status.tasks), _figures(status), said]
    reason = _REASONS.get(outcome.reason, "")
    after = _NEXT.get(outcome.ending, "").format(handle=handle)
    so_far = f"The work so far: {change}" if change else ""
    shown = status.tasks if outcome.ending != "refused" else ()
    return [_HEADLINES[outcome.ending], reason, so_far, _task_list(shown), after, _figures(status), said]


_PARTS = {"queued": _queued, "running": _running, "ended": _ended}


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
    number = url.rstrip("/").rpartition("/")[2]
    return f"pull request #{number}" if number.isdigit() else "pull request"


def _link(name: str, url: str) -> str:
    return f"[{name}]({url})" if _ADDRESS.fullmatch(url) else ""


def _patch(patch: str) -> str:
    """Return the patch folded away, in a fence that it cannot leave."""
    how = "Save it as `onhand.patch`, and apply it with `git am onhand.patch`."
    if len(patch) > LONGEST_PATCH:
        how = (
            f"It is too long for a comment: of {len(patch):,} characters only the first {LONGEST_PATCH:,} stand here, "
            "so it cannot be applied as it is."
        )
    fence = "`" * max(4, 1 + max(map(len, re.findall("`+", patch)), default=0))
    shown = f"{fence}diff\n{patch[:LONGEST_PATCH].rstrip(chr(10))}\n{fence}"
    return f"**The work as a patch.** {how}\n\n<details><summary>Show the patch</summary>\n\n{shown}\n\n</details>"


# --- the pull request -----------------------------------------------------------------------------------------------


def _description(proposal: Proposal) -> list[str]:
    summary = closes_nothing(harmless(cut(proposal.summary.strip(), _LONGEST_SAID // 2)))
    return [summary, _closes(proposal), _subjects(proposal.change), _files(proposal.change), _requested(proposal)]


def _closes(proposal: Proposal) -> str:
    """Say that the change closes the issue, where it was asked in an issue of the same repository."""
    thread, repository = proposal.thread, proposal.source.repository
    here = thread.service == repository.service and thread.place.casefold() == repository.name.casefold()
    return f"Fixes #{thread.item}" if here and thread.item.isdigit() and "/pull/" not in proposal.request_url else ""


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
    known = proposal.thread.service == "github" and _LOGIN.fullmatch(name)
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
