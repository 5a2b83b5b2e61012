import { spawn } from 'node:child_process'

/**
 * A shell of its own that waits for our end, however it comes: by then the pipe is closed, and it deletes what is left
 * of ours. It reads the rules anew, so that nothing need be told before.
 */
const script = `
trap '' HUP INT TERM PIPE
while read -r _; do :; done
mine=$1
nft -a list ruleset 2>/dev/null | while read -r one two three rest; do
  case $one in
    table) family=$two table=$three ;;
    chain) chain=$two ;;
  esac
  case "$one $two $three $rest" in
    *" comment \\"$mine\\" # handle "*) nft delete rule "$family" "$table" "$chain" handle "\${rest##* }" ;;
  esac
done
for kind in nft legacy; do
  for ip in ip ip6; do
    program=\${ip}tables-$kind
    [ $kind = nft ] || grep -q . /proc/self/net/\${ip}_tables_names 2>/dev/null || continue
    table=
    command -v $program >/dev/null && $program-save 2>/dev/null | while read -r one rest; do
      case $one in
        '*'*) table=\${one#?} ;;
        -A) case " $rest " in
          *" --comment \\"$mine\\" "*) printf '%s\\n' "-w 5 -t $table -D $rest" | xargs $program ;;
        esac ;;
      esac
    done
  done
done
`

/** Deletes what the owner of this comment left, when this process ends. Ending it in order is left to the process. */
export interface Guard {
  /** Tells the guard to look, as if we had ended, and waits until it did. */
  close(): Promise<void>
}

/** @param onGone told when it ended while it should watch */
export function startGuard(comment: string, path: string, onGone: () => void): Guard {
  const child = spawn('/bin/sh', ['-c', script, 'acmems-firewall-guard', comment], {
    cwd: '/',
    env: { PATH: path, LC_ALL: 'C' },
    stdio: ['pipe', 'ignore', 'inherit'],
    // What ends our process group is not to end it.
    detached: true,
  })
  let isClosing = false
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  })
  void ended.then(() => {
    if (!isClosing) onGone()
  })
  child.stdin.on('error', () => undefined)
  return {
    async close() {
      isClosing = true
      child.stdin.end()
      await ended
    },
  }
}
