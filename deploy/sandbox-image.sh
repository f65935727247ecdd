#!/usr/bin/env bash
# Builds the sandbox image without any image registry: a small Debian from this machine's own apt sources, imported into the
# Docker engine. Does nothing when the image is there and made from this very script. Needs root and mmdebstrap.
set -euo pipefail

image=${1:-onhand-sandbox}
packages=bash,python3,python3-venv,git,ca-certificates,make,patch,diffutils,findutils,grep,sed,gawk,less,procps,tzdata,unzip,xz-utils

suite=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
made_from=$(cat "${BASH_SOURCE[0]}" <(printf '%s' "$suite") | sha256sum | cut -c1-16)

if [ "$(docker image inspect --format '{{index .Config.Labels "onhand.made-from"}}' "$image" 2>/dev/null)" = "$made_from" ]; then
    printf 'sandbox-image: %s is up to date\n' "$image"
    exit 0
fi

# Only the distribution's own sources: others on this machine are none of the image's business.
sources=()
while IFS= read -r file; do sources+=("$file"); done < <(
    find /etc/apt/sources.list /etc/apt/sources.list.d -type f \( -name '*.list' -o -name '*.sources' \) 2>/dev/null |
        while IFS= read -r file; do if grep -qE "(^Suites:|^deb ).*\b$suite\b" "$file"; then printf '%s\n' "$file"; fi; done
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf 'sandbox-image: building %s from %s\n' "$image" "$suite"
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='chroot "$1" groupadd --gid 1000 box' \
    --customize-hook='chroot "$1" useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash box' \
    --customize-hook='mkdir -m 755 "$1/workspace" && chown 1000:1000 "$1/workspace"' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/* "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d' \
    "$suite" "$work/root.tar" "${sources[@]}"
docker import \
    --change 'USER 1000:1000' --change 'WORKDIR /workspace' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' --change "LABEL onhand.made-from=$made_from" \
    "$work/root.tar" "$image" >/dev/null
printf 'sandbox-image: %s is ready, %s MB\n' "$image" "$(($(docker image inspect --format '{{.Size}}' "$image") / 1000000))"
