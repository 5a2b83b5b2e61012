#!/bin/sh
# acmems' shell agent: keeps one host's certificates fresh with nothing but a POSIX shell, openssl and curl.
# `sh agent.sh --help` says how. Runs under dash, busybox ash and bash.
#
# Where things are. The state folder (0700) holds the host's own key, agent.key, which signs its requests, and for each
# configuration file a folder:
#   pending/      the key and the request under way; kept until a certificate for them is installed
#   sets/ID/      a key with the certificate that was checked against it
#   live          symlink to the set that counts; what stands at the configured paths is only a copy of it
#   unfinished    a change whose check or hook has not succeeded; holds the ID of the set before it
# Every step is one rename, so that a run that is killed anywhere is taken up by the next one.

# shellcheck disable=SC2015,SC2018,SC2019,SC2317
# Names may hold a *: nothing is expanded but where it is said.
set -uf
umask 077
LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
unset CDPATH
newline='
'

usage() {
  cat <<'TEXT'
Usage: agent.sh [COMMAND] [OPTION...]

  enroll     make this host's key and have the server know it: --server URL --token TOKEN [--pin PIN | --cacert FILE]
  renew      fetch what is due, check it, install it, run the hook (this is what happens without a command)
  install    put what was fetched at its places again; no server is asked
  hook       run check and hook now
  key        make this host's key where there is none, and print its public half
  register   have the server make a sealed box for this host's key (box = NAME in the configuration)
  status     say what is there, until when, and what is left to do
  cron       print a line for /etc/cron.d
  systemd    print a service and a timer

  -c, --config FILE   may be given again, one certificate each (default: /etc/acmems-agent.conf)
  -f, --force         renew although it is not due
  -v, --verbose       say what is done
      --server URL, --pin PIN, --cacert FILE, --token TOKEN (- reads it from standard input),
      --name NAME (again for more), --directory PATH, --state FOLDER: for enroll, which writes them down when there is no configuration yet

Configuration, one KEY = VALUE a line, # before a comment:
  server = https://hub.example:1313
  pin = sha256//...            the server's public key; or cacert = FILE; or neither, for the system's roots
  name = www.example.org       again, or several with blanks, for more
  directory = /etc/ssl/www     a symlink that is swapped as one: privkey.pem cert.pem chain.pem fullchain.pem
  key, certificate, chain, fullchain, combined = PATH     single files instead, or as well
  owner = root:ssl-cert        of what is installed
  mode = 640                   of files with the key (default 600; the others have 644)
  key-type = ec-256            ec-256 ec-384 rsa-2048 rsa-3072 rsa-4096
  reuse-key = yes              the same key and request again (default: a new key each time)
  roots = FILE                 the certificate must lead to one of these; the system's roots do not count
  check = nginx -t             after installing; where it fails, the former certificate is put back
  hook = systemctl reload nginx
  box = NAME                   fetch a sealed key and certificate instead of asking for one
  host-key = FILE              default: agent.key in the state folder
  host-key-type = ec-256       or rsa-3072
  key-id = NAME                default: the fingerprint of the host key
  secret-file = FILE           sign with this shared secret instead; needs key-id
  state = FOLDER               default: /var/lib/acmems-agent

check and hook find ACMEMS_NAMES, ACMEMS_DIRECTORY, ACMEMS_KEY, ACMEMS_CERTIFICATE, ACMEMS_CHAIN, ACMEMS_FULLCHAIN,
ACMEMS_NOT_AFTER, ACMEMS_SERIAL and ACMEMS_FINGERPRINT in their environment.

Examples:
  sh agent.sh enroll --server https://hub.example:1313 --token TOKEN --pin sha256//... --name www.example.org --directory /etc/ssl/www
  sh agent.sh
  sh agent.sh cron > /etc/cron.d/acmems-agent

Exit codes: 0 done, or nothing to do; 1 it failed and is tried again by the next run; 2 called or configured wrongly;
3 the server refused this host; 4 what came cannot be trusted; 5 check or hook failed; 75 another run is at work.
TEXT
}

# --- talking ---------------------------------------------------------------------------------------------------------

say() { printf 'acmems-agent: %s\n' "$*" >&2; }
chat() { [ "$verbose" = no ] || say "$@"; }

# fail CODE TEXT
fail() {
  fail_code=$1
  shift
  say "$*"
  exit "$fail_code"
}

# What a server or a program said: one line, nothing that a terminal would obey.
tame() { tr '\n\r\t' '   ' | tr -cd '\040-\176' | cut -c 1-300; }

# --- options and configuration ---------------------------------------------------------------------------------------

need_value() { [ "$#" -ge 2 ] || fail 2 "$1 needs a value; try --help"; }

read_arguments() {
  command=renew configs='' force=no verbose=no
  option_server='' option_pin='' option_cacert='' option_token='' option_names='' option_directory='' option_state=''
  [ ! -t 2 ] || verbose=yes
  case ${1:-} in
    enroll | renew | install | hook | key | register | status | cron | systemd) command=$1 && shift ;;
    help) usage && exit 0 ;;
  esac
  while [ "$#" -gt 0 ]; do
    case $1 in
      -h | --help) usage && exit 0 ;;
      -f | --force) force=yes ;;
      -v | --verbose) verbose=yes ;;
      -c | --config) need_value "$@" && configs="$configs$2$newline" && shift ;;
      --server) need_value "$@" && option_server=$2 && shift ;;
      --pin) need_value "$@" && option_pin=$2 && shift ;;
      --cacert) need_value "$@" && option_cacert=$2 && shift ;;
      --token) need_value "$@" && option_token=$2 && shift ;;
      --name) need_value "$@" && option_names="$option_names$2 " && shift ;;
      --state) need_value "$@" && option_state=${2%/} && shift ;;
      --directory) need_value "$@" && option_directory=$2 && shift ;;
      *) fail 2 "what is $1? try --help" ;;
    esac
    shift
  done
  if [ -z "$configs" ]; then
    if [ "$(id -u)" = 0 ]; then configs=/etc/acmems-agent.conf$newline
    else configs=${XDG_CONFIG_HOME:-${HOME:-}/.config}/acmems-agent.conf$newline; fi
  fi
}

reset_configuration() {
  server='' pin='' cacert='' names='' directory='' key='' certificate='' chain='' fullchain='' combined=''
  owner='' mode=600 key_type=ec-256 reuse_key=no roots='' check='' hook='' box=''
  host_key='' host_key_type=ec-256 key_id='' secret_file=''
  if [ "$(id -u)" = 0 ]; then state=/var/lib/acmems-agent
  else state=${XDG_STATE_HOME:-${HOME:-}/.local/state}/acmems-agent; fi
}

trim() {
  trimmed=${1#"${1%%[! 	]*}"}
  trimmed=${trimmed%"${trimmed##*[! 	]}"}
}

# The file is read, never run: only check and hook are commands.
read_configuration() {
  reset_configuration
  [ -f "$config" ] && [ -r "$config" ] || fail 2 "$config cannot be read; sh agent.sh enroll writes one"
  # shellcheck disable=SC2012
  case $(ls -ldL "$config" | cut -c 9) in
    w) fail 2 "$config can be written by everybody, who could then have commands run here: chmod o-w $config" ;;
  esac
  seen=' ' line_number=0
  while IFS= read -r line || [ -n "$line" ]; do
    line_number=$((line_number + 1))
    trim "${line%"$(printf '\r')"}"
    case $trimmed in '' | '#'* | ';'*) continue ;; *=*) ;; *) fail 2 "$config:$line_number: this is no KEY = VALUE" ;; esac
    value=${trimmed#*=}
    trim "${trimmed%%=*}" && option=$trimmed
    trim "$value" && value=$trimmed
    case $option in
      name) ;;
      *) case $seen in *" $option "*) fail 2 "$config:$line_number: $option is given twice" ;; esac ;;
    esac
    seen="$seen$option "
    set_option
  done <"$config"
  check_configuration
}

set_option() {
  case $option in
    server) server=${value%/} ;;
    pin) pin=$value ;;
    cacert) cacert=$value ;;
    name) names="$names$value " ;;
    directory) directory=${value%/} ;;
    key) key=$value ;;
    certificate) certificate=$value ;;
    chain) chain=$value ;;
    fullchain) fullchain=$value ;;
    combined) combined=$value ;;
    owner) owner=$value ;;
    mode) mode=$value ;;
    key-type) key_type=$value ;;
    reuse-key) reuse_key=$value ;;
    roots) roots=$value ;;
    check) check=$value ;;
    hook) hook=$value ;;
    box) box=$value ;;
    host-key) host_key=$value ;;
    host-key-type) host_key_type=$value ;;
    key-id) key_id=$value ;;
    secret-file) secret_file=$value ;;
    state) state=${value%/} ;;
    *) fail 2 "$config:$line_number: there is no key \"$(printf %s "$option" | tame)\"; --help lists them" ;;
  esac
}

# bad_choice KEY VALUE CHOICE...
check_choice() {
  choice_key=$1 choice_value=$2
  shift 2
  for choice in "$@"; do [ "$choice_value" != "$choice" ] || return 0; done
  fail 2 "$config: $choice_key = $choice_value is none of $*"
}

check_configuration() {
  [ -n "$server" ] || fail 2 "$config: server is missing"
  check_server
  [ -n "$box$names" ] || fail 2 "$config: name is missing"
  # shellcheck disable=SC2086
  names=$(printf '%s\n' $names | tr 'A-Z' 'a-z' | LC_ALL=C sort -u | tr '\n' ' ')
  for name in $names; do
    case ${name#\*.} in *[!a-z0-9.:_-]* | -* | .* | '') fail 2 "$config: name = $name is no name or address" ;; esac
  done
  case $box in *[!A-Za-z0-9._-]*) fail 2 "$config: box = $box: letters, digits, dot, dash and underscore only" ;; esac
  check_choice key-type "$key_type" ec-256 ec-384 rsa-2048 rsa-3072 rsa-4096
  check_choice host-key-type "$host_key_type" ec-256 rsa-2048 rsa-3072 rsa-4096
  check_choice reuse-key "$reuse_key" yes no
  case $mode in *[!0-7]* | '' | ????*) fail 2 "$config: mode = $mode is no octal mode such as 640" ;; esac
  case $owner in *[!A-Za-z0-9._:-]* | -*) fail 2 "$config: owner = $owner is no USER or USER:GROUP" ;; esac
  [ -n "$directory$key$certificate$chain$fullchain$combined" ] ||
    fail 2 "$config: nothing says where to: give directory, or key and fullchain"
  for path in "$directory" "$key" "$certificate" "$chain" "$fullchain" "$combined" "$state" "$host_key" "$roots" "$cacert"; do
    case $path in '' | /?*) ;; *) fail 2 "$config: $path must begin with /" ;; esac
  done
  [ -z "$directory" ] || [ -L "$directory" ] || [ ! -e "$directory" ] ||
    fail 2 "$directory is there already and no symlink of ours; move it away"
  for path in "$key" "$certificate" "$chain" "$fullchain" "$combined"; do
    [ -z "$path" ] || [ ! -d "$path" ] || fail 2 "$path is a folder; a file is to be written there"
  done
  [ -z "$roots" ] || [ -r "$roots" ] || fail 2 "roots = $roots cannot be read"
  if [ -n "$secret_file" ]; then
    [ -r "$secret_file" ] || fail 2 "secret-file = $secret_file cannot be read"
    [ -n "$key_id" ] || fail 2 "$config: secret-file needs key-id"
  fi
  [ -n "$host_key" ] || host_key=$state/agent.key
  id=${config##*/}
  id=${id%.conf}
  place=$state/$id
}

# Our requests and what comes back go over TLS, or stay on this machine.
check_server() {
  case $server in
    https://*) protocol='=https' ;;
    http://127.* | http://localhost | http://localhost[:/]* | "http://[::1]"*) protocol='=http' ;;
    http://*) fail 2 "server = $server: plain HTTP only to this machine itself; use https" ;;
    *) fail 2 "server = $server must begin with https://" ;;
  esac
  authority=${server#*://}
  case $authority in *[!A-Za-z0-9.:_-]*) case $authority in "["*"]"*) ;; *) fail 2 "server = $server: only host and port, as https://hub.example:1313" ;; esac ;; esac
  authority=$(printf %s "$authority" | tr 'A-Z' 'a-z')
  case $server in https://*) authority=${authority%:443} ;; *) authority=${authority%:80} ;; esac
  case $pin in '' | sha256//*) ;; *) fail 2 "pin = $pin must begin with sha256//" ;; esac
  [ -z "$cacert" ] || [ -r "$cacert" ] || fail 2 "cacert = $cacert cannot be read"
}

# --- time ------------------------------------------------------------------------------------------------------------

# Seconds since 1970 of "Feb 20 03:22:16 2027 GMT" (openssl) and "Sat, 20 Feb 2027 03:22:16 GMT" (HTTP).
to_epoch() {
  printf '%s\n' "$1" | awk '{
    if ($1 ~ /,$/) { d = $2; m = $3; y = $4; t = $5 } else { m = $1; d = $2; t = $3; y = $4 }
    m = (index("JanFebMarAprMayJunJulAugSepOctNovDec", m) + 2) / 3
    if (m < 1 || m != int(m) || y < 1970 || y > 9999 || split(t, hms, ":") != 3) exit 1
    if (m <= 2) { y -= 1; m += 12 }
    days = 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + d - 719469
    printf "%.0f\n", days * 86400 + hms[1] * 3600 + hms[2] * 60 + hms[3]
  }'
}

# The server's time where it told us that ours is wrong.
clock_offset=0
now() { echo $(($(date +%s) + clock_offset)); }

# read_dates FILE : not_before, not_after, and not_after_text
read_dates() {
  dates=$(openssl x509 -in "$1" -noout -startdate -enddate 2>/dev/null) || return 1
  not_before=$(to_epoch "$(printf '%s\n' "$dates" | sed -n 's/^notBefore=//p')") || return 1
  not_after_text=$(printf '%s\n' "$dates" | sed -n 's/^notAfter=//p')
  not_after=$(to_epoch "$not_after_text") || return 1
}

# --- one run at a time -----------------------------------------------------------------------------------------------

# The process and when it began: its number alone may be somebody else's after a restart of the machine.
process_mark() {
  mark=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20)
  printf '%s %s\n' "$1" "${mark:-unknown}"
}

is_running() {
  case ${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  kill -0 "${1%% *}" 2>/dev/null || [ -d "/proc/${1%% *}" ] || return 1
  [ "$(process_mark "${1%% *}")" = "$1" ]
}

take_lock() {
  mkdir -p "$place/sets" || fail 1 "the state folder $state cannot be written"
  chmod 700 "$state" "$place"
  lock=$place/lock
  process_mark $$ >"$lock.$$" && [ -s "$lock.$$" ] || { rm -f "$lock.$$"; fail 1 "$state cannot be written; is the disk full?"; }
  attempts=0
  # A hard link is made by one alone, and the file has its content before it has the name.
  until ln "$lock.$$" "$lock" 2>/dev/null; do
    holder=$(cat "$lock" 2>/dev/null)
    attempts=$((attempts + 1))
    if [ "$attempts" -gt "${ACMEMS_AGENT_WAIT:-60}" ]; then
      rm -f "$lock.$$"
      fail 75 "another run is at work (process ${holder%% *})"
    elif [ -z "$holder" ] || is_running "$holder"; then
      sleep 1
    elif mv "$lock" "$lock.broken.$$" 2>/dev/null; then
      # Who was quicker may hold it by now: then it is given back.
      [ "$(cat "$lock.broken.$$")" = "$holder" ] || ln "$lock.broken.$$" "$lock" 2>/dev/null
      rm -f "$lock.broken.$$"
    fi
  done
  rm -f "$lock.$$"
  locked=yes
  # Whatever a run that was killed left behind: nobody else is at work now, but others may wait.
  set +f
  rm -rf "$place"/tmp.* "$place"/*.new "$place"/sets/*.new
  # By the number in the name: who just begins has not written into it yet.
  for old in "$lock".*; do kill -0 "${old##*.}" 2>/dev/null || rm -f "$old"; done
  set -f
  temp=$place/tmp.$$
  mkdir "$temp" || fail 1 "$place cannot be written; is the disk full?"
}

locked=no preparing=no
temp=
leave() {
  [ "$preparing" = no ] || forget_leftovers
  [ -z "$temp" ] || rm -rf "$temp"
  [ "$locked" = no ] || rm -f "$lock"
}

# --- keys ------------------------------------------------------------------------------------------------------------

# make_key TYPE FILE : the file is there in full, or not at all
make_key() {
  case $1 in
    ec-256) set -- "$2" -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve ;;
    ec-384) set -- "$2" -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -pkeyopt ec_param_enc:named_curve ;;
    rsa-*) set -- "$2" -algorithm RSA -pkeyopt "rsa_keygen_bits:${1#rsa-}" ;;
  esac
  made_key=$1
  shift
  openssl genpkey "$@" -out "$made_key.new" 2>/dev/null && openssl pkey -in "$made_key.new" -noout 2>/dev/null &&
    sync_file "$made_key.new" && mv -f "$made_key.new" "$made_key" ||
    { rm -f "$made_key.new"; fail 1 "no key could be made at $made_key; is the disk full?"; }
}

make_host_key() {
  mkdir -p "${host_key%/*}" || fail 1 "${host_key%/*} cannot be made"
  if [ ! -s "$host_key" ]; then
    make_key "$host_key_type" "$host_key.$$"
    # Runs for other configurations share it: who is first makes it.
    ln "$host_key.$$" "$host_key" 2>/dev/null
    rm -f "$host_key.$$"
  fi
  chmod 600 "$host_key" || fail 1 "$host_key cannot be made"
  public_key=${host_key%.key}.pub
  public_half key "$host_key" >"$temp/agent.pub"
  [ -s "$temp/agent.pub" ] || fail 1 "$host_key is no private key"
  cmp -s "$temp/agent.pub" "$public_key" || { copy "$temp/agent.pub" "$public_key.$$" && chmod 644 "$public_key.$$" && mv -f "$public_key.$$" "$public_key"; } ||
    fail 1 "$public_key cannot be written"
}

key_fingerprint() {
  openssl pkey -in "$host_key" -pubout -outform DER 2>/dev/null | openssl dgst -sha256 -binary | openssl base64 -A |
    tr '+/' '-_' | tr -d =
}

# public_half key|certificate FILE
public_half() {
  case $1 in
    key) openssl pkey -in "$2" -pubout 2>/dev/null ;;
    certificate) openssl x509 -in "$2" -noout -pubkey 2>/dev/null ;;
  esac
}

# --- signed requests (RFC 9421, RFC 9530) ----------------------------------------------------------------------------

awk_hex='
  function nibble(c) { return index("0123456789abcdef", c) - 1 }
  function octet(h) { return 16 * nibble(substr(h, 1, 1)) + nibble(substr(h, 2, 1)) }
  function base64(h,   out, i, n, left, set) {
    set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = 1; i <= length(h); i += 6) {
      left = substr(h, i, 6)
      n = octet(substr(left, 1, 2)) * 65536
      if (length(left) > 2) n += octet(substr(left, 3, 2)) * 256
      if (length(left) > 4) n += octet(substr(left, 5, 2))
      out = out substr(set, int(n / 262144) + 1, 1) substr(set, int(n / 4096) % 64 + 1, 1)
      out = out (length(left) > 2 ? substr(set, int(n / 64) % 64 + 1, 1) : "=")
      out = out (length(left) > 4 ? substr(set, n % 64 + 1, 1) : "=")
    }
    return out
  }'

to_hex() { od -An -v -tx1 | tr -d ' \n'; }

# openssl's ECDSA signature is DER; here it is the two integers side by side (RFC 9421 3.3.4).
der_to_base64() {
  to_hex | awk "$awk_hex"'{
    at = 5
    for (i = 0; i < 2; i++) {
      size = 2 * octet(substr($0, at + 2, 2))
      number = substr($0, at + 4, size)
      at += 4 + size
      while (length(number) < 64) number = "0" number
      both = both substr(number, length(number) - 63)
    }
    printf "%s", base64(both)
  }'
}

# HMAC-SHA256 of standard input, in base64. By hand: `openssl dgst -hmac` wants the secret where everybody can see it.
hmac() {
  tr -d '\r\n' <"$secret_file" >"$temp/secret"
  if [ "$(wc -c <"$temp/secret")" -gt 64 ]; then secret_hex=$(openssl dgst -sha256 -binary "$temp/secret" | to_hex)
  else secret_hex=$(to_hex <"$temp/secret"); fi
  rm -f "$temp/secret"
  { padded 54 && cat; } | openssl dgst -sha256 -binary >"$temp/inner"
  { padded 92 && cat "$temp/inner"; } | openssl dgst -sha256 -binary | openssl base64 -A
}

# padded NUMBER : the secret, filled up to 64 octets, each of them XORed with the number
padded() {
  printf '%s\n' "$secret_hex" | awk -v pad="$1" "$awk_hex"'{
    for (i = 1; i <= 128; i += 2) {
      a = i <= length($0) ? octet(substr($0, i, 2)) : 0
      x = 0
      for (bit = 1; bit < 256; bit *= 2) if (int(a / bit) % 2 != int(pad / bit) % 2) x += bit
      out = out sprintf("%02x", x)
    }
    print base64(out)
  }' | openssl base64 -d -A
}

choose_algorithm() {
  if [ -n "$secret_file" ]; then
    algorithm=hmac-sha256
    return
  fi
  case $(openssl pkey -in "$host_key" -noout -text_pub 2>/dev/null) in
    *prime256v1*) algorithm=ecdsa-p256-sha256 ;;
    *Modulus*) algorithm=rsa-v1_5-sha256 ;;
    *ED25519*) algorithm=ed25519 ;;
    *) fail 2 "$host_key: RSA, P-256 and Ed25519 keys can sign requests, this is none" ;;
  esac
  [ -n "$key_id" ] || key_id=$(key_fingerprint)
}

# A host that was never enrolled has no key: it is known by its address, or not at all.
can_sign() { [ -n "$secret_file" ] || [ -s "$host_key" ]; }

# sign_request METHOD PATH QUERY BODY : adds the header lines to $temp/request-head
sign_request() {
  parts='"@method" "@authority" "@path"'
  lines="\"@method\": $1$newline\"@authority\": $authority$newline\"@path\": $2$newline"
  if [ -n "$3" ]; then
    parts="$parts \"@query\"" lines="$lines\"@query\": ?$3$newline"
  fi
  if [ -n "$4" ]; then
    digest="sha-256=:$(openssl dgst -sha256 -binary "$4" | openssl base64 -A):"
    parts="$parts \"content-digest\"" lines="$lines\"content-digest\": $digest$newline"
    printf 'Content-Digest: %s\n' "$digest" >>"$temp/request-head"
  fi
  choose_algorithm
  parameters="($parts);created=$(now);nonce=\"$(openssl rand -hex 16)\";keyid=\"$key_id\";alg=\"$algorithm\""
  printf '%s"@signature-params": %s' "$lines" "$parameters" >"$temp/base" ||
    fail 1 "$temp cannot be written; is the disk full?"
  case $algorithm in
    hmac-sha256) signature=$(hmac <"$temp/base") ;;
    rsa-*) signature=$(openssl dgst -sha256 -sign "$host_key" "$temp/base" | openssl base64 -A) ;;
    ecdsa-*) signature=$(openssl dgst -sha256 -sign "$host_key" "$temp/base" | der_to_base64) ;;
    ed25519) signature=$(openssl pkeyutl -sign -rawin -inkey "$host_key" -in "$temp/base" | openssl base64 -A) ;;
  esac
  [ -n "$signature" ] || fail 1 "the request could not be signed"
  printf 'Signature-Input: sig1=%s\nSignature: sig1=:%s:\n' "$parameters" "$signature" >>"$temp/request-head" ||
    fail 1 "$temp cannot be written; is the disk full?"
}

# send METHOD PATH QUERY BODY TYPE [HEADER] : one exchange; http_status, $temp/reply and $temp/reply-head
send() {
  printf 'User-Agent: acmems-agent-sh\nExpect:\n' >"$temp/request-head"
  [ -z "$5" ] || printf 'Content-Type: %s\n' "$5" >>"$temp/request-head"
  [ -z "${6:-}" ] || printf '%s\n' "$6" >>"$temp/request-head"
  [ "$signed" = no ] || sign_request "$1" "$2" "$3" "$4"
  : >"$temp/reply"
  : >"$temp/reply-head"
  url=$server$2${3:+?$3}
  # What is secret is in a file, not in an argument that everybody can see.
  set -- -sS -X "$1" --proto "$protocol" --connect-timeout 20 --max-time 600 --max-filesize 262144 \
    -H "@$temp/request-head" -D "$temp/reply-head" -o "$temp/reply" -w '%{http_code}' ${4:+--data-binary "@$4"} "$url"
  if [ -n "$pin" ]; then set -- -k --pinnedpubkey "$pin" "$@"
  elif [ -n "$cacert" ]; then set -- --cacert "$cacert" "$@"; fi
  # The limit bounds what an endless answer can write, in units of 512 octets. -q: nobody's .curlrc.
  http_status=$(ulimit -f 1024 2>/dev/null; curl -q "$@" 2>"$temp/curl-says")
  curl_code=$?
  rm -f "$temp/request-head"
  case $curl_code in
    0) return 0 ;;
    90) fail 4 "the server at $server does not have the pinned key (pin = $pin): either it has a new one, or this is somebody else" ;;
    60 | 77) fail 4 "the server at $server cannot be trusted: $(tame <"$temp/curl-says")" ;;
    23) fail 1 "what the server sent cannot be written; is the disk full?" ;;
    63 | 15[0-9]) fail 4 "the server at $server sent more than any answer has" ;;
    *) fail 1 "the server at $server cannot be reached: $(tame <"$temp/curl-says")" ;;
  esac
}

reply_header() { tr -d '\r' <"$temp/reply-head" | awk -v name="$1:" 'tolower($1) == name { sub(/^[^ ]* */, ""); line = $0 } END { print line }'; }

# request METHOD PATH QUERY BODY TYPE [HEADER] : signed; a wrong clock is put right once, by what the server says
request() {
  signed=yes
  can_sign || signed=no
  send "$@"
  [ "$http_status" = 401 ] || return 0
  server_time=$(to_epoch "$(reply_header date)") || return 0
  difference=$((server_time - $(now)))
  [ "$difference" -gt 30 ] || [ "$difference" -lt -30 ] || return 0
  clock_offset=$((clock_offset + difference))
  say "this machine's clock is $((difference > 0 ? difference : -difference)) s $([ "$difference" -gt 0 ] && echo behind || echo ahead of) the server's, whose time is used"
  send "$@"
}

# What is not 200: says so and ends.
refused() {
  words=$(tame <"$temp/reply")
  case $http_status in
    401 | 403) fail 3 "the server refused this host ($http_status): $words" ;;
    429 | 503) keep_not_before ;;
  esac
  case $http_status in
    4*) fail 3 "the server refused the request ($http_status): $words" ;;
    *) fail 1 "the server could not do it ($http_status): $words" ;;
  esac
}

# A server that says when to come again is not asked before, but for at most a day.
keep_not_before() {
  wait=$(reply_header retry-after)
  case $wait in '' | *[!0-9]* | ??????*) wait=0 ;; esac
  [ "$wait" -le 86400 ] || wait=86400
  [ "$wait" = 0 ] || echo $(($(now) + wait)) >"$place/not-before"
  fail 1 "the server is not ready ($http_status), asked again after $wait s: $words"
}

must_wait() {
  not_asked_before=$(cat "$place/not-before" 2>/dev/null)
  case $not_asked_before in '' | *[!0-9]*) return 1 ;; esac
  [ "$force" = no ] && [ "$not_asked_before" -gt "$(now)" ] && [ "$not_asked_before" -le $(($(now) + 86400)) ]
}

# --- what is wanted, and whether what is there is it -----------------------------------------------------------------

wish() {
  if [ -n "$box" ]; then printf 'box %s %s\n' "$box" "$names"
  else printf '%s%s\n' "$names" "$key_type"; fi
}

# As openssl prints the names of a certificate: DNS in lower case, IPv6 in eight groups.
normal_names() {
  tr ' ' '\n' | awk 'NF {
    name = tolower($0)
    if (name ~ /:/) {
      count = split(name, group, ":")
      filled = 0
      for (i = 1; i <= count; i++) if (group[i] != "") filled++
      out = ""
      for (i = 1; i <= count; i++) {
        if (group[i] != "") { sub(/^0+/, "", group[i]); out = out ":" (group[i] == "" ? "0" : group[i]) }
        else if (filled < 8) { for (; filled < 8; filled++) out = out ":0" }
      }
      print "ip " substr(out, 2)
    } else if (name ~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$/) print "ip " name
    else print "dns " name
  }' | sort -u
}

# Every name in the certificate, whatever its kind; a CommonName counts as one, too.
certificate_names() {
  {
    openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | sed 1d | tr ',' '\n' | awk 'NF {
      sub(/^ +/, "")
      if (/^DNS:/) print "dns " tolower(substr($0, 5))
      else if (/^IP Address:/) print "ip " tolower(substr($0, 12))
      else print "other " $0
    }'
    openssl x509 -in "$1" -noout -subject -nameopt multiline,utf8,-esc_msb 2>/dev/null |
      sed -n 's/^ *commonName *= //p' | normal_names
  } | sed 's/ *$//' | sort -u
}

names_in() { certificate_names "$1" | sed 's/^[a-z]* //' | tr '\n' ' ' | sed 's/ $//'; }

has_wanted_names() { # FILE
  [ -n "$names" ] || return 0
  [ "$(certificate_names "$1")" = "$(printf %s "$names" | normal_names)" ]
}

# The set is whole: its key is its certificate's.
is_whole() { # FOLDER
  [ -s "$1/cert.pem" ] && [ -s "$1/fullchain.pem" ] && [ -f "$1/chain.pem" ] && read_dates "$1/cert.pem" || return 1
  is_whole_half=$(public_half certificate "$1/cert.pem")
  [ -n "$is_whole_half" ] && [ "$is_whole_half" = "$(public_half key "$1/privkey.pem")" ]
}

# why_due : why a certificate is to be had now; empty where it is not
why_due() {
  if ! is_whole "$place/live"; then
    [ -L "$place/live" ] && echo 'the one that was there is damaged' || echo 'there is none yet'
  elif [ "$(cat "$place/live/wish" 2>/dev/null)" != "$(wish)" ]; then echo 'something else is wanted than before'
  elif [ "$force" = yes ]; then echo 'it was asked for'
  elif [ -n "$box" ]; then echo 'the box is looked at'
  else
    lifetime=$((not_after - not_before))
    # As the server does it: a third of its life, half of it where that is short.
    if [ "$lifetime" -lt 864000 ]; then left=$((lifetime / 2)); else left=$((lifetime / 3)); fi
    [ "$(now)" -lt $((not_after - left)) ] || echo "it ends $not_after_text"
  fi
}

# --- asking ----------------------------------------------------------------------------------------------------------

# The key and the request are kept before the server is asked: an answer that is lost costs no second order.
prepare_pending() {
  if [ "$(cat "$place/pending/wish" 2>/dev/null)" = "$(wish)" ] && [ -s "$place/pending/request.csr" ]; then return; fi
  rm -rf "$place/pending"
  fresh=$place/pending.new
  mkdir "$fresh" || fail 1 "$place cannot be written; is the disk full?"
  wish >"$fresh/wish"
  if [ "$reuse_key" = yes ] && is_whole "$place/live" && [ "$(cat "$place/live/wish")" = "$(wish)" ] && [ -s "$place/live/request.csr" ]; then
    copy "$place/live/privkey.pem" "$fresh/privkey.pem"
    copy "$place/live/request.csr" "$fresh/request.csr"
  else
    make_key "$key_type" "$fresh/privkey.pem"
    make_csr "$fresh"
  fi
  sync_file "$fresh/request.csr" "$fresh/privkey.pem" "$fresh/wish"
  mv "$fresh" "$place/pending" || fail 1 "$place cannot be written"
}

make_csr() { # FOLDER
  alternatives=$(printf %s "$names" | normal_names | awk '{ printf "%s%s:%s", (NR > 1 ? "," : ""), toupper($1), $2 }')
  cat >"$temp/request.cnf" 2>/dev/null <<TEXT || fail 1 "$temp cannot be written; is the disk full?"
[req]
distinguished_name = dn
req_extensions = extensions
string_mask = utf8only
[dn]
[extensions]
subjectAltName = $alternatives
TEXT
  openssl req -new -batch -sha256 -subj / -config "$temp/request.cnf" -key "$1/privkey.pem" -out "$1/request.csr" 2>"$temp/says" &&
    openssl req -in "$1/request.csr" -noout -verify >/dev/null 2>&1 ||
    fail 1 "no request could be made; is the disk full? $(tame <"$temp/says")"
}

# The answer to the request under way, in $temp/answer. 1: there is nothing newer.
fetch_certificate() {
  prepare_pending
  if [ -s "$place/pending/answer.pem" ]; then
    copy "$place/pending/answer.pem" "$temp/answer"
    return 0
  fi
  chat "asking $server for $names"
  request POST /sign '' "$place/pending/request.csr" application/pkcs10
  [ "$http_status" = 200 ] || refused
  copy "$temp/reply" "$temp/answer"
}

fetch_box() {
  [ -s "$host_key" ] || fail 2 "there is no $host_key to open the box with; run: sh agent.sh enroll"
  etag=
  if is_whole "$place/live" && [ "$force" = no ] && [ "$(cat "$place/live/wish")" = "$(wish)" ]; then etag=$(cat "$place/live/etag" 2>/dev/null); fi
  request GET "/box/$box" '' '' '' ${etag:+"If-None-Match: $etag"}
  [ "$http_status" != 304 ] || return 1
  [ "$http_status" = 200 ] || refused
  rm -rf "$place/pending" "$place/pending.new"
  mkdir "$place/pending.new" || fail 1 "$place cannot be written; is the disk full?"
  awk '/^-----BEGIN CMS-----$/ { on = 1 } on { print } /^-----END CMS-----$/ { exit }' "$temp/reply" >"$temp/sealed"
  [ -s "$temp/sealed" ] || fail 4 "the box $box has no sealed key in it"
  openssl cms -decrypt -inform PEM -in "$temp/sealed" -inkey "$host_key" -out "$place/pending.new/privkey.pem" 2>"$temp/says" &&
    openssl pkey -in "$place/pending.new/privkey.pem" -noout 2>/dev/null ||
    fail 4 "the box $box does not open with $host_key: it is for another key, or was changed on its way"
  wish >"$place/pending.new/wish"
  reply_header etag | tr -cd '\041-\176' >"$place/pending.new/etag"
  mv "$place/pending.new" "$place/pending" || fail 1 "$place cannot be written"
  copy "$temp/reply" "$temp/answer"
}

# --- checking --------------------------------------------------------------------------------------------------------

# split_chain ANSWER FOLDER : cert.pem, chain.pem and fullchain.pem, with nothing but certificates in them
split_chain() {
  mkdir -p "$2" || return 1
  : >"$2/cert.pem" && : >"$2/chain.pem" || return 1
  tr -d '\r' <"$1" | awk -v leaf="$2/cert.pem" -v rest="$2/chain.pem" '
    /^-----BEGIN CERTIFICATE-----$/ { on = 1; count++ }
    on && !/^-----(BEGIN|END) CERTIFICATE-----$/ && !/^[A-Za-z0-9+\/=]+$/ { exit 1 }
    on { print > (count == 1 ? leaf : rest) }
    /^-----END CERTIFICATE-----$/ { on = 0 }
    END { if (on || count < 1 || count > 10) exit 1 }' || return 1
  cat "$2/cert.pem" "$2/chain.pem" >"$2/fullchain.pem"
}

# check_answer FOLDER : everything that can be known about it here. Nothing is installed that does not pass.
check_answer() {
  answer=$1
  split_chain "$temp/answer" "$answer" && openssl x509 -in "$answer/cert.pem" -noout 2>/dev/null ||
    distrust 'it is no certificate chain'
  [ "$(public_half certificate "$answer/cert.pem")" = "$(public_half key "$place/pending/privkey.pem")" ] ||
    distrust 'it is for another key'
  has_wanted_names "$answer/cert.pem" ||
    distrust "its names are $(names_in "$answer/cert.pem" | tame), not ${names% }"
  read_dates "$answer/cert.pem" || distrust 'it does not say how long it is valid'
  [ "$not_after" -gt "$(now)" ] || distrust "it ended $not_after_text"
  [ "$not_before" -le $(($(now) + 300)) ] || distrust "it is not valid yet; is this machine's clock right?"
  new_not_before=$not_before
  verify_chain
  if is_whole "$place/live" && [ "$(cat "$place/live/wish" 2>/dev/null)" = "$(wish)" ] && [ "$new_not_before" -lt "$not_before" ]; then
    distrust 'it is older than the one that is here'
  fi
  read_dates "$answer/cert.pem"
}

verify_chain() {
  set -- -attime "$(now)" -purpose sslserver
  if [ -n "$roots" ]; then
    set -- "$@" -x509_strict -CAfile "$roots"
    [ ! -s "$answer/chain.pem" ] || set -- "$@" -untrusted "$answer/chain.pem"
  elif [ -s "$answer/chain.pem" ]; then
    # No roots of our own to hold it to: at least it is what its issuer signed.
    set -- "$@" -partial_chain -CAfile "$answer/chain.pem"
  else return 0; fi
  # The system's roots must not count beside the pinned ones.
  SSL_CERT_DIR=/nonexistent SSL_CERT_FILE=/nonexistent openssl verify -no-CApath "$@" "$answer/cert.pem" >"$temp/says" 2>&1 ||
    distrust "it does not lead to a trusted root: $(sed -n 's/^error [0-9]* at //p' "$temp/says" | tame)"
}

distrust() {
  rm -f "$place/pending/answer.pem"
  fail 4 "the certificate that $server sent is not taken: $1"
}

# --- keeping ---------------------------------------------------------------------------------------------------------

sync_file() { sync "$@" 2>/dev/null || sync; }

# copy FROM TO : all of it, or an end
copy() {
  cp "$1" "$2" 2>/dev/null && cmp -s "$1" "$2" && return 0
  rm -f "$2"
  fail 1 "$2 cannot be written; is the disk full?"
}

# swap_link TARGET LINK : in one step, there is never no link
swap_link() {
  rm -f "$2.swap"
  ln -s "$1" "$2.swap" || return 1
  # -T of GNU and busybox, -h of the BSDs; without either it is as quick as it can be.
  mv -T "$2.swap" "$2" 2>/dev/null || mv -h "$2.swap" "$2" 2>/dev/null || { rm -f "$2.swap"; ln -sfn "$1" "$2"; }
}

live_set() { readlink "$place/live" 2>/dev/null | sed 's,.*/,,'; }

# keep_set FOLDER : makes what was checked the set that counts
keep_set() {
  set_id=$(date +%s)-$$
  fresh=$place/sets/$set_id.new
  mkdir "$fresh" || fail 1 "$place cannot be written; is the disk full?"
  for file in cert.pem chain.pem fullchain.pem; do copy "$1/$file" "$fresh/$file"; done
  for file in privkey.pem request.csr wish etag; do [ ! -f "$place/pending/$file" ] || copy "$place/pending/$file" "$fresh/$file"; done
  set +f
  sync_file "$fresh"/*
  set -f
  mv "$fresh" "$place/sets/$set_id" || fail 1 "$place cannot be written"
  [ ! -f "$place/pending/request.csr" ] || copy "$temp/answer" "$place/pending/answer.pem"
  begin_change "$(live_set)"
  swap_link "sets/$set_id" "$place/live" || fail 1 "$place cannot be written"
}

# begin_change ID : from now on check and hook are owed
begin_change() {
  printf '%s\n' "$1" >"$place/unfinished.new" && mv "$place/unfinished.new" "$place/unfinished" ||
    fail 1 "$place cannot be written; is the disk full?"
}

prune_sets() {
  set +f
  for old in "$place"/sets/*; do
    case ${old##*/} in "$(live_set)" | "$(cat "$place/unfinished" 2>/dev/null)") ;; *) rm -rf "$old" ;; esac
  done
  set -f
}

# --- installing ------------------------------------------------------------------------------------------------------

# Each file that is to stand somewhere: SET-FILE MODE PATH
each_target() {
  [ -z "$key" ] || "$1" privkey.pem "$mode" "$key"
  [ -z "$certificate" ] || "$1" cert.pem 644 "$certificate"
  [ -z "$chain" ] || "$1" chain.pem 644 "$chain"
  [ -z "$fullchain" ] || "$1" fullchain.pem 644 "$fullchain"
  [ -z "$combined" ] || "$1" combined.pem "$mode" "$combined"
}

dress() { # MODE PATH
  [ -z "$owner" ] || chown "$owner" "$2" || fail 1 "$2 cannot be given to $owner"
  chmod "$1" "$2" || fail 1 "$2 cannot be given mode $1"
}

combine() {
  [ -n "$combined" ] || return 0
  cat "$place/live/fullchain.pem" "$place/live/privkey.pem" >"$temp/combined.pem" 2>/dev/null ||
    fail 1 "$temp cannot be written; is the disk full?"
}
source_of() { if [ "$1" = combined.pem ]; then echo "$temp/combined.pem"; else echo "$place/live/$1"; fi; }

beside() { echo "${1%/*}/.${1##*/}.acmems-$$"; }

prepare_file() { # SET-FILE MODE PATH
  mkdir -p "${3%/*}" || fail 1 "${3%/*} cannot be made"
  copy "$(source_of "$1")" "$(beside "$3")"
  dress "$2" "$(beside "$3")"
  sync_file "$(beside "$3")"
}
place_file() { mv -f "$(beside "$3")" "$3" || fail 1 "$3 cannot be replaced"; }
forget_file() { rm -f "${3%/*}/.${3##*/}.acmems-"*; }
is_file_placed() { cmp -s "$(source_of "$1")" "$3" || all_placed=no; }

prepare_directory() {
  mkdir -p "${directory%/*}" || fail 1 "${directory%/*} cannot be made"
  fresh_directory=${directory%/*}/.${directory##*/}.acmems-$(date +%s)-$$
  rm -rf "$fresh_directory"
  mkdir "$fresh_directory" || fail 1 "${directory%/*} cannot be written"
  for file in privkey.pem cert.pem chain.pem fullchain.pem; do
    copy "$place/live/$file" "$fresh_directory/$file"
    if [ "$file" = privkey.pem ]; then dress "$mode" "$fresh_directory/$file"; else dress 644 "$fresh_directory/$file"; fi
  done
  : >"$fresh_directory/.complete" || fail 1 "$fresh_directory cannot be written; is the disk full?"
  dress 755 "$fresh_directory"
  set +f
  sync_file "$fresh_directory"/*
  set -f
}

place_directory() {
  former=$(readlink "$directory" 2>/dev/null)
  swap_link "${fresh_directory##*/}" "$directory" || fail 1 "$directory cannot be replaced"
  # The former one stays until the next change, for whoever is reading it just now.
  set +f
  for old in "${directory%/*}/.${directory##*/}.acmems-"*; do
    case ${old##*/} in "${fresh_directory##*/}" | "${former##*/}") ;; *) rm -rf "$old" ;; esac
  done
  set -f
}

# What an interrupted or failed run left beside the targets.
forget_leftovers() {
  set +f
  each_target forget_file
  if [ -n "$directory" ]; then
    standing=$(readlink "$directory" 2>/dev/null)
    # Unfinished ones: a finished one has this mark, and may still be read by somebody.
    for old in "${directory%/*}/.${directory##*/}.acmems-"*; do
      [ "${old##*/}" = "${standing##*/}" ] || [ -e "$old/.complete" ] || rm -rf "$old"
    done
  fi
  set -f
}

# Everything is written before anything is replaced: a full disk changes nothing.
install_set() {
  preparing=yes
  combine
  each_target prepare_file
  [ -z "$directory" ] || prepare_directory
  preparing=no
  each_target place_file
  [ -z "$directory" ] || place_directory
  how_installed >"$temp/how" && mv "$temp/how" "$place/how"
}

how_installed() { printf '%s\n' "$directory" "$key" "$certificate" "$chain" "$fullchain" "$combined" "$owner" "$mode"; }

# Is what stands at the targets the set that counts?
is_installed() {
  all_placed=yes
  combine
  each_target is_file_placed
  if [ -n "$directory" ]; then
    [ -L "$directory" ] || all_placed=no
    for file in privkey.pem cert.pem chain.pem fullchain.pem; do
      cmp -s "$place/live/$file" "$directory/$file" || all_placed=no
    done
  fi
  [ "$all_placed" = yes ] && [ "$(how_installed)" = "$(cat "$place/how" 2>/dev/null)" ]
}

repair() {
  is_whole "$place/live" || return 0
  ! is_installed || return 0
  say 'what is installed is not what it should be; it is put right'
  [ -f "$place/unfinished" ] || begin_change ''
  install_set
}

# --- check and hook --------------------------------------------------------------------------------------------------

with_limit() { if command -v timeout >/dev/null 2>&1; then timeout 600 "$@"; else "$@"; fi; }

# run_command COMMAND : with the facts in its environment; what it prints is shown only where it fails
run_command() {
  read_dates "$place/live/cert.pem" || return 1
  (
    ACMEMS_NAMES=$(names_in "$place/live/cert.pem")
    ACMEMS_DIRECTORY=$directory
    ACMEMS_KEY=${key:-${directory:+$directory/privkey.pem}}
    ACMEMS_CERTIFICATE=${certificate:-${directory:+$directory/cert.pem}}
    ACMEMS_CHAIN=${chain:-${directory:+$directory/chain.pem}}
    ACMEMS_FULLCHAIN=${fullchain:-${directory:+$directory/fullchain.pem}}
    ACMEMS_NOT_AFTER=$not_after_text
    ACMEMS_SERIAL=$(openssl x509 -in "$place/live/cert.pem" -noout -serial | sed 's/.*=//')
    ACMEMS_FINGERPRINT=$(openssl x509 -in "$place/live/cert.pem" -noout -fingerprint -sha256 | sed 's/.*=//')
    export ACMEMS_NAMES ACMEMS_DIRECTORY ACMEMS_KEY ACMEMS_CERTIFICATE ACMEMS_CHAIN ACMEMS_FULLCHAIN ACMEMS_NOT_AFTER \
      ACMEMS_SERIAL ACMEMS_FINGERPRINT
    umask 022
    with_limit sh -c "$1" </dev/null
  ) >"$temp/command-says" 2>&1
}

# 0 done, 5 something has yet to succeed
finish_change() {
  [ -f "$place/unfinished" ] || return 0
  if [ -n "$check" ] && ! run_command "$check"; then
    words=$(tame <"$temp/command-says")
    before=$(cat "$place/unfinished")
    if [ -n "$before" ] && [ "$before" != "$(live_set)" ] && is_whole "$place/sets/$before"; then
      swap_link "sets/$before" "$place/live" && install_set
      rm -f "$place/unfinished"
      prune_sets
      say "check failed, so the former certificate is back; the new one is tried again by the next run: $words"
      return 5
    fi
    say "check failed, and there is no former certificate to put back: $words"
    return 5
  fi
  # A request that was answered well is done with; one that a newer wish began is not.
  if cmp -s "$place/pending/privkey.pem" "$place/live/privkey.pem"; then rm -rf "$place/pending"; fi
  if [ -n "$hook" ]; then
    chat "running the hook"
    if ! run_command "$hook"; then
      say "the hook failed, it is run again by the next run: $(tame <"$temp/command-says")"
      return 5
    fi
  fi
  rm -f "$place/unfinished"
  prune_sets
}

# --- commands --------------------------------------------------------------------------------------------------------

begin() {
  read_configuration
  command -v openssl >/dev/null 2>&1 || fail 2 'openssl is not installed'
  command -v curl >/dev/null 2>&1 || fail 2 'curl is not installed'
  take_lock
}

renew() {
  begin
  forget_leftovers
  repair
  # A hook that fails for ever must not keep the next certificate away.
  finish_change
  owed=$?
  due=$(why_due)
  if [ -z "$due" ]; then
    read_dates "$place/live/cert.pem"
    chat "${names% }: not due, valid until $not_after_text"
    return $owed
  fi
  if must_wait; then
    is_whole "$place/live" || fail 1 'the server asked not to be asked again yet (--force does it)'
    chat 'due, but the server asked not to be asked again yet'
    return $owed
  fi
  if [ -z "$box" ]; then
    chat "due: $due"
    fetch_certificate
  elif ! fetch_box; then
    chat 'the box is as it was'
    return $owed
  fi
  rm -f "$place/not-before"
  check_answer "$temp/checked"
  if cmp -s "$temp/checked/fullchain.pem" "$place/live/fullchain.pem" && cmp -s "$place/pending/privkey.pem" "$place/live/privkey.pem"; then
    chat 'the server has nothing newer'
    # The same certificate for a changed wish or ETag is remembered as what is wanted.
    for file in wish etag; do [ ! -f "$place/pending/$file" ] || copy "$place/pending/$file" "$place/live/$file"; done
    rm -rf "$place/pending"
    return $owed
  fi
  keep_set "$temp/checked"
  install_set
  chat "installed: $(names_in "$place/live/cert.pem"), until $not_after_text"
  finish_change
}

install_again() {
  begin
  is_whole "$place/live" || fail 1 'nothing was fetched yet; run: sh agent.sh renew'
  forget_leftovers
  is_installed || begin_change ''
  install_set
  finish_change
}

run_hook() {
  begin
  is_whole "$place/live" || fail 1 'nothing was fetched yet; run: sh agent.sh renew'
  [ -f "$place/unfinished" ] || begin_change ''
  finish_change
}

print_key() {
  begin
  make_host_key
  cat "$public_key"
  say "known as $(key_fingerprint)"
}

register() {
  begin
  [ -n "$box" ] && [ -n "$names" ] || fail 2 "$config: register needs box and name"
  make_host_key
  # A * stands for itself in a query (RFC 3986 3.4).
  query="$(for name in $names; do printf 'domain=%s&' "$name"; done)key-type=$key_type"
  request POST "/box/$box" "$query" "$public_key" application/x-pem-file
  case $http_status in 2??) chat "the server makes the box $box: $(tame <"$temp/reply")" ;; *) refused ;; esac
}

enroll() {
  if [ -f "$config" ]; then
    read_configuration
    [ -z "$option_server" ] || [ "${option_server%/}" = "$server" ] || fail 2 "$config names another server, $server"
    [ -z "$option_pin" ] || pin=$option_pin
    [ -z "$option_cacert" ] || cacert=$option_cacert
  else
    reset_configuration
    server=${option_server%/} pin=$option_pin cacert=$option_cacert
    [ -n "$server" ] || fail 2 'enroll needs --server'
    check_server
    case $option_state in '' | /?*) ;; *) fail 2 "--state $option_state must begin with /" ;; esac
    state=${option_state:-$state} host_key=${option_state:-$state}/agent.key place=$state/enrolment
  fi
  [ "$option_token" != - ] || IFS= read -r option_token
  case $option_token in '' | *[!A-Za-z0-9_-]*) fail 2 'enroll needs --token, as the server printed it' ;; esac
  take_lock
  make_host_key
  signed=no
  send POST /enroll '' "$public_key" application/x-pem-file "Authorization: Bearer $option_token"
  [ "$http_status" = 200 ] || refused
  [ "$(tr -d '\r\n' <"$temp/reply")" = "$(key_fingerprint)" ] || fail 4 'the server enrolled another key than ours'
  say "enrolled; the server knows this host as $(key_fingerprint)"
  [ -f "$config" ] || write_configuration
}

write_configuration() {
  mkdir -p "${config%/*}" || fail 1 "${config%/*} cannot be made"
  {
    printf 'server = %s\n' "$server"
    [ -z "$pin" ] || printf 'pin = %s\n' "$pin"
    [ -z "$cacert" ] || printf 'cacert = %s\n' "$cacert"
    # shellcheck disable=SC2086
    if [ -n "$option_names" ]; then printf 'name = %s\n' $option_names; else echo '# name = www.example.org'; fi
    if [ -n "$option_directory" ]; then printf 'directory = %s\n' "$option_directory"; else echo '# directory = /etc/ssl/www'; fi
    [ -z "$option_state" ] || printf 'state = %s\n' "$option_state"
    echo '# hook = systemctl reload nginx'
  } >"$config.new" && chmod 644 "$config.new" && mv "$config.new" "$config" || fail 1 "$config cannot be written"
  rm -rf "$state/enrolment"
  [ -n "$option_names" ] && [ -n "$option_directory" ] || say "now write down in $config what to fetch, and where to"
}

status() {
  read_configuration
  echo "$config: ${names:-box $box}"
  echo "  server    $server"
  [ ! -s "$host_key" ] || echo "  host key  $(key_fingerprint)"
  if ! is_whole "$place/live"; then
    echo "  $([ -L "$place/live" ] && echo 'damaged: the next run fetches it anew' || echo 'nothing was fetched yet')"
    return 1
  fi
  echo "  until     $not_after_text ($(((not_after - $(now)) / 86400)) days)"
  temp=$(mktemp -d) || fail 1 'no temporary folder can be made'
  status_code=0
  [ "$not_after" -gt "$(now)" ] || { echo '  EXPIRED'; status_code=1; }
  is_installed || { echo '  what is installed differs; the next run puts it right'; status_code=1; }
  [ ! -f "$place/unfinished" ] || { echo '  check or hook has yet to succeed'; status_code=1; }
  [ -n "$box" ] || [ -z "$(why_due)" ] || echo "  due: $(why_due)"
  return $status_code
}

# A minute of its own for every host, so that they do not all come at once.
own_minute() { hostname 2>/dev/null | openssl dgst -sha256 | tr -cd '0-9' | cut -c 1-6 | awk '{ print ($1 + 0) % 60 }'; }

own_path() {
  case $0 in
    */agent.sh) (cd "${0%/*}" && printf '%s/agent.sh\n' "$(pwd)") ;;
    agent.sh) printf '%s/agent.sh\n' "$(pwd)" ;;
    /*) printf '%s\n' "$0" ;;
    *) echo /usr/local/sbin/acmems-agent ;;
  esac
}

own_line() { printf 'sh %s renew%s\n' "$(own_path)" "$(printf %s "$configs" | sed 's/^/ --config /' | tr -d '\n')"; }

print_cron() { printf '%s */6 * * * root %s\n' "$(own_minute)" "$(own_line)"; }

print_systemd() {
  cat <<TEXT
# /etc/systemd/system/acmems-agent.service
[Unit]
Description=Certificates from $(printf %s "$configs" | tr '\n' ' ')
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/bin/$(own_line)

# /etc/systemd/system/acmems-agent.timer
[Unit]
Description=Renews certificates

[Timer]
OnCalendar=*-*-* 00/6:00:00
RandomizedDelaySec=6h
Persistent=true

[Install]
WantedBy=timers.target
TEXT
}

run_command_line() {
  case $command in
    cron) print_cron ;;
    systemd) print_systemd ;;
    renew) renew ;;
    enroll) enroll ;;
    install) install_again ;;
    hook) run_hook ;;
    key) print_key ;;
    register) register ;;
    status) status ;;
  esac
}

# One configuration after another, each in a process of its own; the worst exit code counts.
each_config() {
  worst=0
  IFS=$newline
  for config in $configs; do
    unset IFS
    set -- "$command" --config "$config"
    [ "$force" = no ] || set -- "$@" --force
    [ "$verbose" = no ] || set -- "$@" --verbose
    sh "$(own_path)" "$@"
    code=$?
    [ "$code" -le "$worst" ] || worst=$code
  done
  return "$worst"
}

main() {
  read_arguments "$@"
  config=${configs%"$newline"}
  case $command:$config in
    cron:* | systemd:*) ;;
    *"$newline"*)
      [ "$command" != enroll ] || fail 2 'enroll takes one --config'
      each_config
      return
      ;;
  esac
  trap leave EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  run_command_line
}

main "$@"
exit $?
