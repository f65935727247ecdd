"""What a sandbox backend that isolates must do besides, as checks; `bot/testing/sandboxes.py` has the others."""

import re
from pathlib import Path

from bot.core.ports import Sandboxes
from bot.testing.boxes import Check, alive, box_of, expect, said, until

ISOLATION: list[Check] = []
"""What holds for every backend that isolates."""

_PRIVATE = (".ssh", ".bashrc", ".cache", ".config", ".gitconfig", ".netrc", ".docker", ".bash_history", ".profile")
_TUNNELS = {"tunl0", "sit0", "ip6tnl0", "gre0", "erspan0", "gretap0", "ip6gre0", "ip_vti0", "ip6_vti0"}


def _isolation(check: Check) -> Check:
    ISOLATION.append(check)
    return check


@_isolation
async def commands_do_not_run_as_root(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        expect(await said(box, "id -u") == "0", False, "whether the user is root")
        status = await said(box, "grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status")
        expect(
            sorted(set(re.findall(r":\s*(\w+)", status))),
            ["0" * 16, "1"],
            f"capabilities and new privileges ({status})",
        )


@_isolation
async def there_is_no_network(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        interfaces = await said(box, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
        expect(set(interfaces.split()) <= {"lo", *_TUNNELS}, True, f"whether {interfaces} is all local")
        expect((await box.run("cat /proc/net/route | tail -n +2")).output, "", "routes")


@_isolation
async def the_host_is_not_seen(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        home = Path.home()
        seen = (await box.run(f"ls -A {home} 2>&-")).output.split()
        expect([name for name in seen if name in _PRIVATE], [], f"what is seen of {home}")
        uptime = (await box.run("cat /proc/1/cmdline")).output
        expect("systemd" in uptime, False, "whether the host's first process is seen")
        expect((await box.run("cat /etc/shadow 2>&- | grep -v '[*!]'")).output.count(":"), 0, "passwords in sight")
        expect(
            (await box.run("ls /var/run/docker.sock /run/docker.sock")).exit_code == 0, False, "whether the engine is"
        )
        processes = await said(box, "ls -d /proc/[0-9]* | wc -l")
        expect(int(processes) < 12, True, f"how many processes are seen ({processes})")


@_isolation
async def the_system_cannot_be_written(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        for path in ("/usr/x", "/etc/x", "/x", "/proc/sys/kernel/core_pattern"):
            expect((await box.run(f"echo x >{path}")).exit_code == 0, False, f"whether {path} can be written")
        expect(
            (await box.run("mount -t tmpfs x /mnt || unshare -Ur true")).exit_code == 0, False, "whether it can mount"
        )


@_isolation
async def the_server_cannot_be_ended_from_inside(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("kill -9 1; kill -TERM 1; kill -INT 1; kill -9 -1", timeout=20)
        await until(lambda: alive(box))


@_isolation
async def no_key_is_seen_inside(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        look = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /run/onhand/* 2>&- | tr '\\0' '\\n'"
        seen = (await box.run(f"{look}; find / -xdev -name '*key*' -path '*onhand*' 2>&- | xargs -r cat")).output
        expect(re.findall(r"[0-9a-f]{33,}", seen), [], "what looks like a key")


# --- help ------------------------------------------------------------------------------------------------------------
