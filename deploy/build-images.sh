#!/bin/sh
# Build both images with buildah: no daemon, no container started. Any other builder will do as well.
#
#   deploy/build-images.sh                                       on python:3.12-slim, with CUDA
#   CPU=1 deploy/build-images.sh TORCH='torch --index-url …'     a worker for CPUs, of that name;
#                                                                NAME=VALUE are build arguments
#   LOCAL_BASE=1 deploy/build-images.sh …                        on a base of Debian's packages, where
#                                                                no registry can be reached
#
# Packages come from where this machine's pip finds them: its configuration, and the files that it
# names, are mounted for the build; of them the images have at most empty places.
set -eu
cd "$(dirname "$0")/.."
command -v buildah > /dev/null || { echo "skipped: there is no buildah" >&2; exit 0; }

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

local_base() {
    command -v debootstrap > /dev/null || { echo "skipped: there is no debootstrap" >&2; exit 0; }
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip \
        "$release" "$made/root" > "$made/log" || { cat "$made/log" >&2; exit 1; }
    # As in python:…-slim: pip is the image's own, and nothing is kept that only installed it.
    rm -rf "$made"/root/usr/lib/python3*/EXTERNALLY-MANAGED \
        "$made"/root/var/cache/apt/* "$made"/root/var/lib/apt/lists/*
    ln -s python3 "$made/root/usr/bin/python"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$made/root" / > /dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --format docker --rm "$container" localhost/attention-please-base
}

# `global.name='value'`, or `:env:.name='value'`, to the lines of a pip.conf; then the files and
# folders of this machine that the values name.
{
    echo "[global]"
    pip config list | sed -n "s/^\(global\|:env:\)\.\([a-z-]*\)='\(.*\)'\$/\2 = \3/p" |
        awk '!seen[$1]++'
} > "$made/pip.conf"
set -- "$@" --volume "$made/pip.conf:/etc/pip.conf:ro"
for path in $(sed 's/.*= //; s|file://||g' "$made/pip.conf" | tr ' ' '\n' | sort -u); do
    path=${path%/simple}
    [ "${path#/}" = "$path" ] || [ ! -e "$path" ] || set -- "$@" --volume "$path:$path:ro"
done

worker=attention-please-worker
if [ "${CPU:-}" ]; then
    worker=attention-please-worker-cpu
    set -- "$@" COMPILER=
fi
if [ "${LOCAL_BASE:-}" ]; then
    buildah inspect --type image localhost/attention-please-base > /dev/null 2>&1 || local_base
    set -- "$@" BASE=localhost/attention-please-base
fi
count=$#
while [ "$count" -gt 0 ]; do  # NAME=VALUE to --build-arg NAME=VALUE; options stay
    case $1 in
        --*) set -- "$@" "$1" "$2"; shift; count=$((count - 1)) ;;
        *) set -- "$@" --build-arg "$1" ;;
    esac
    shift
    count=$((count - 1))
done

build() {
    target=$1 tag=localhost/$2
    shift 2
    # Docker's format, because the other has no health checks.
    buildah build --isolation chroot --format docker --layers --timestamp 315532800 \
        --file Dockerfile.gpu \
        --target "$target" --tag "$tag" "$@" .
}
build service attention-please-service "$@"
build worker "$worker" "$@"
buildah images --filter reference=localhost/attention-please-*
