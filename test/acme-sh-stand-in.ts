/**
 * Stands in for acme.sh where a test looks at what reaches a plugin (test/acme-sh.test.ts has the real one), as far as one
 * can see: the functions that its developer's guide for DNS plugins lists, with the same names, files and ways of saving,
 * its help when there are no arguments, and nothing local about its variables. It was written from the documentation.
 */
export const acmeShStandIn = `#!/usr/bin/env sh
PROJECT_NAME="acme.sh"
_exists() { command -v "$1" >/dev/null 2>&1; }
_info() { printf '[%s] %s\\n' "$(date)" "$*"; }
_err() { printf '[%s] %s\\n' "$(date)" "$*" >&2; return 1; }
_debug() { :; }
_secure_debug() { :; }
_math() { _m_opts="$*"; printf '%s' "$(($_m_opts))"; }
_contains() { printf '%s' "$1" | grep -- "$2" >/dev/null 2>&1; }
_mktemp() { mktemp; }
_save_conf() {
  _s_c_f="$1"; _sdkey="$2"; _sdvalue="$3"
  touch "$_s_c_f" || return 1
  grep -v "^$_sdkey=" "$_s_c_f" >"$_s_c_f.new"
  printf "%s='%s'\\n" "$_sdkey" "$_sdvalue" >>"$_s_c_f.new"
  mv "$_s_c_f.new" "$_s_c_f"
}
_read_conf() { [ -f "$1" ] && (eval "$(grep "^$2 *=" "$1")" && eval "printf '%s' \\"\\$$2\\""); }
_saveaccountconf_mutable() { _save_conf "$ACCOUNT_CONF_PATH" "SAVED_$1" "$2"; }
_readaccountconf_mutable() { _read_conf "$ACCOUNT_CONF_PATH" "SAVED_$1"; }
_savedomainconf() { _save_conf "$DOMAIN_CONF" "$1" "$2"; }
_readdomainconf() { _read_conf "$DOMAIN_CONF" "$1"; }
_initpath() {
  domain="$1"
  [ "$LE_WORKING_DIR" ] || LE_WORKING_DIR="$HOME/.acme.sh"
  [ "$LE_CONFIG_HOME" ] || LE_CONFIG_HOME="$LE_WORKING_DIR"
  [ "$ACCOUNT_CONF_PATH" ] || ACCOUNT_CONF_PATH="$LE_CONFIG_HOME/account.conf"
  [ -f "$ACCOUNT_CONF_PATH" ] && . "$ACCOUNT_CONF_PATH"
  HTTP_HEADER="$LE_CONFIG_HOME/http.header"
  return 0
}
showhelp() { echo "Usage: $PROJECT_NAME <command> ... [parameters ...]"; }
_process() { echo "must not come here: $*" >&2; exit 9; }
main() {
  [ -z "$1" ] && showhelp && return
  if _contains "$1" '^-'; then _process "$@"; else "$@"; fi
}
main "$@"
`

/** A plugin as the guide describes them, for a BIND that lets us update. */
export const nsupdatePlugin = `#!/usr/bin/env sh
dns_bindhere_add() { _bindhere add "$1" "$2"; }
dns_bindhere_rm() { _bindhere delete "$1" "$2"; }
_bindhere() {
  BINDHERE_Server="\${BINDHERE_Server:-$(_readaccountconf_mutable BINDHERE_Server)}"
  BINDHERE_Token="\${BINDHERE_Token:-$(_readaccountconf_mutable BINDHERE_Token)}"
  if [ -z "$BINDHERE_Server" ] || [ -z "$BINDHERE_Token" ]; then
    _err "BINDHERE_Server or BINDHERE_Token is missing"
    return 1
  fi
  _saveaccountconf_mutable BINDHERE_Token "$BINDHERE_Token"
  _savedomainconf BINDHERE_Zone "$2"
  : >"$HTTP_HEADER"
  _info "token is $BINDHERE_Token"
  domain=clobbered file=clobbered value=clobbered plugin=clobbered action=clobbered
  _lines="$(_mktemp)"
  printf 'server %s\\nupdate %s %s. 1 IN TXT "%s"\\nsend\\n' "$BINDHERE_Server" "$1" "$2" "$3" >"$_lines"
  eval "$BINDHERE_Nsupdate \\"$_lines\\"" || return 1
}
`
