#!/bin/sh
# Builds packaging/Containerfile for real and runs what it made: sh scripts/container-check.sh [acmems.deb]
# One or two minutes, as root, on Debian. No registry is asked: the base image is made by debootstrap from the mirror that apt
# uses here. buildah and debootstrap are used where they are, else unpacked for the time of the check; nothing is installed,
# and nothing stays. Without namespaces of its own to run in (chroot isolation), the container shares this machine's network.
set -eu
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
say() { printf 'container-check: %s\n' "$*" >&2; }
fail() {
  say "FAILED: $*"
  [ ! -f "$work/server.log" ] || tail -n 20 "$work/server.log" >&2
  exit 1
}

if [ "$(id -u)" != 0 ]; then
  say 'skipped: only root may make a base image'
  exit 0
fi
for tool in apt-get dpkg-deb ldconfig unshare curl openssl; do
  command -v "$tool" >/dev/null || { say "skipped: there is no $tool here"; exit 0; }
done
# In a mount namespace of its own: what is mounted goes with it.
if [ "${CONTAINER_CHECK_INSIDE:-}" != 1 ]; then
  CONTAINER_CHECK_INSIDE=1 exec unshare -m --propagation private sh "$0" "$@"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/acmems-container.XXXXXX")
server=
finish() {
  status=$?
  trap - EXIT
  [ -z "$server" ] || kill -9 "$server" 2>/dev/null || :
  [ ! -f "$work/pid" ] || kill -9 "$(cat "$work/pid")" 2>/dev/null || :
  # What is mounted in there still must not be emptied with it.
  awk -v under="$work/" 'index($2, under) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r place; do
    umount -l "$place" || exit 1
  done && rm -rf --one-file-system "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# --- tools ------------------------------------------------------------------------------------------------------------

apt() { apt-get -q -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root "$@" >>"$work/log" 2>&1; }
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/tools" "$work/tmp" "$work/context"
buildah=$(command -v buildah || :)
debootstrap=$(command -v debootstrap || :)
if [ -z "$buildah" ] || [ -z "$debootstrap" ]; then
  say 'fetching buildah and debootstrap'
  apt update || :
  # shellcheck disable=SC2086 # one word each
  (cd "$work/tools" && apt download buildah debootstrap libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1 libseccomp2 libsubid4) || {
    say 'skipped: buildah or debootstrap cannot be had'
    exit 0
  }
  for deb in "$work/tools"/*.deb; do dpkg-deb -x "$deb" "$work/tools"; done
  buildah=$work/tools/usr/bin/buildah
  debootstrap=$work/tools/usr/sbin/debootstrap
  export DEBOOTSTRAP_DIR="$work/tools/usr/share/debootstrap"
  # buildah starts itself anew without its environment: only the loader's own list makes it find its libraries.
  libraries=$(find "$work/tools" -name 'libgpgme.so.11' -exec dirname {} \; | head -n 1)
  printf 'include /etc/ld.so.conf\n%s\n' "$libraries" >"$work/ld.conf"
  ldconfig -X -f "$work/ld.conf" -C "$work/ld.cache"
  mount --bind "$work/ld.cache" /etc/ld.so.cache
fi
printf 'unqualified-search-registries = []\n' >"$work/registries.conf"
printf '{"default":[{"type":"insecureAcceptAnything"}]}\n' >"$work/policy.json"
export TMPDIR="$work/tmp" CONTAINERS_REGISTRIES_CONF="$work/registries.conf" CONTAINERS_CONF=/dev/null BUILDAH_ISOLATION=chroot
box() { "$buildah" --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }

# --- base, package, image ---------------------------------------------------------------------------------------------

if [ $# -ge 1 ]; then
  cp -- "$1" "$work/context/acmems_given.deb"
else
  say 'making the package'
  node=$(PATH="$checkout/node_modules/.bin:$PATH" command -v node)
  (cd "$checkout" && "$node" --input-type=module -e '
    const { buildDeb } = await import("./scripts/build-deb.ts")
    const architecture = process.arch === "x64" ? "amd64" : process.arch
    await buildDeb({ outdir: process.argv[1], architecture, epochS: 1700000000, compression: "none" })
  ' "$work/context") >>"$work/log" 2>&1 || fail "no package: $(tail -n 3 "$work/log")"
fi

say 'making the base image'
mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
  sed -n 's/^Debian|Debian|main|//p' | head -n 1)
"$debootstrap" --variant=minbase bookworm "$work/base" "$mirror" >>"$work/log" 2>&1 || {
  say "skipped: no base image: $(tail -n 1 "$work/log")"
  exit 0
}
base=$(box from scratch)
box add -q "$base" "$work/base" / >/dev/null
box commit -q --rm --signature-policy "$work/policy.json" "$base" docker.io/library/debian:12-slim >/dev/null
rm -rf --one-file-system "$work/base"

say 'building packaging/Containerfile'
box build --signature-policy "$work/policy.json" --pull-never --network host --tag acmems \
  --file "$checkout/packaging/Containerfile" "$work/context" >>"$work/log" 2>&1 || {
  grep -q 'Failed to fetch\|Temporary failure resolving' "$work/log" && say 'skipped: the packages cannot be had' && exit 0
  fail "$(tail -n 5 "$work/log")"
}

# --- what it is -------------------------------------------------------------------------------------------------------

told() { box inspect --type image --format "$1" localhost/acmems; }
[ "$(told '{{.OCIv1.Config.User}}')" = acmems ] || fail 'it does not run as acmems'
[ "$(told '{{.OCIv1.Config.StopSignal}}')" = SIGTERM ] || fail 'it is not ended by SIGTERM'
command=$(told '{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}{{range .OCIv1.Config.Cmd}}{{.}} {{end}}')
[ "$command" = '/usr/bin/acmems serve /etc/acmems/acmems.ini ' ] || fail "it runs $command"

# --- what it does -----------------------------------------------------------------------------------------------------

port=$((20000 + $$ % 20000))
cat >"$work/acmems.ini" <<INI
[mgmt]
listener = 127.0.0.1:$port
[account]
type = local
[verification "http"]
type = http01
listener =
[auth "here"]
ip = 127.0.0.1
domain = *.example.test
INI
container=$(box from --pull-never --signature-policy "$work/policy.json" localhost/acmems)
box copy -q --chown root:acmems --chmod 0640 "$container" "$work/acmems.ini" /etc/acmems/acmems.ini >/dev/null
version=$(box run "$container" -- /usr/bin/acmems --version)
case $version in [0-9]*.[0-9]*) ;; *) fail "--version says $version" ;; esac

# shellcheck disable=SC2086 # the image's own words
box run "$container" -- $command >"$work/server.log" 2>&1 &
server=$!
tries=0
until grep -q '"msg":"serving"\|serving' "$work/server.log"; do
  tries=$((tries + 1))
  [ "$tries" -lt 150 ] && kill -0 "$server" 2>/dev/null || fail 'it does not begin to serve'
  sleep 0.2
done

# Its processes are those in its mount namespace; of buildah's own there is the one that brought it up.
inside=$(sed -n 's/.*"pid":\([0-9]*\),.*"msg":"serving".*/\1/p' "$work/server.log")
[ -d "/proc/$inside" ] || fail 'it does not tell its process'
its=$(for one in /proc/[0-9]*; do
  [ "$(readlink "$one/ns/mnt" 2>/dev/null)" != "$(readlink "/proc/$inside/ns/mnt")" ] || tr '\0' ' ' <"$one/cmdline" | sed 's/$/\n/'
done | grep -v '^buildah-chroot-exec' || :)
[ "$(echo "$its" | grep -c .)" = 1 ] || fail "it is not one process: $its"
echo "$inside" >"$work/pid"
grep -q '^Uid:	0' "/proc/$inside/status" && fail 'it runs as root'
grep -q '^CapEff:	0*$' "/proc/$inside/status" || fail "it has capabilities: $(grep ^CapEff "/proc/$inside/status")"

openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key.pem" -out "$work/csr.pem" \
  -subj / -addext 'subjectAltName=DNS:box.example.test' 2>/dev/null
curl -sSf --noproxy '*' --data-binary "@$work/csr.pem" "http://127.0.0.1:$port/sign" >"$work/chain.pem" || fail '/sign does not answer'
openssl x509 -in "$work/chain.pem" -noout -ext subjectAltName | grep -q DNS:box.example.test || fail 'no certificate'

kill -TERM "$inside"
tries=0
while kill -0 "$inside" 2>/dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || fail 'SIGTERM does not end it'
  sleep 0.1
done
rm -f "$work/pid"
wait "$server" || fail "it ended with status $?"
server=
say "acmems $version: built, not root, one process, no capabilities, /sign answered, ended by SIGTERM"
