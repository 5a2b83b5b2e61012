/** Who lacme runs as, and what its environment says. */
export type Runner = {
  readonly uid: number
  readonly gid: number
  readonly user: string
  readonly group: string
  /** As the system's list of users has it; HOME may say another one. */
  readonly home: string
  readonly environment: Readonly<Record<string, string | undefined>>
}

/**
 * Fills lacme's %-specifiers in.
 * @param more letters of ours, which lacme does not know; undefined: it has no value here
 * @throws Error for one that lacme does not know, or that has no value here
 */
export function expandSpecifiers(
  text: string,
  runner: Runner,
  more: Readonly<Record<string, string | undefined>> = {},
): string {
  return text.replace(/%(.?)/gs, (all, letter: string) => {
    const value = Object.hasOwn(more, letter) ? more[letter] : meaningOf(letter, runner)
    if (value === undefined) throw new Error(`${all} in ${JSON.stringify(text)} is not known, or has no value here`)
    return value
  })
}

function meaningOf(letter: string, { uid, gid, user, group, home, environment }: Runner): string | undefined {
  const given = (name: string, otherwise: string) => environment[name] || otherwise
  const isRoot = uid === 0
  const ownHome = environment.HOME || home
  switch (letter) {
    case 'C':
      return isRoot ? '/var/cache' : given('XDG_CACHE_HOME', `${ownHome}/.cache`)
    case 'E':
      return isRoot ? '/etc' : given('XDG_CONFIG_HOME', `${ownHome}/.config`)
    case 't':
      return isRoot ? '/run' : environment.XDG_RUNTIME_DIR
    case 'T':
      return given('TMPDIR', '/tmp')
    case 'g':
      return group
    case 'G':
      return String(gid)
    case 'h':
      return home
    case 'u':
      return user
    case 'U':
      return String(uid)
    case '%':
      return '%'
    default:
      return undefined
  }
}
