import { oneLine } from '../acme/problem.ts'

/** Something about the taking over that a person should know. */
export type Remark = {
  /** `left out`: it is not in our configuration, or not as it was. `note`: it is, and there is something to know. */
  readonly kind: 'left out' | 'note'
  /** `file:line`, or the file. */
  readonly origin: string
  /** What it is about. */
  readonly what: string
  /** Why, and what to do instead. */
  readonly instead: string
}

export function remark(kind: Remark['kind'], origin: string, what: string, instead: string): Remark {
  return { kind, origin: oneLine(origin), what: oneLine(what), instead: oneLine(instead) }
}

export function formatRemark({ kind, origin, what, instead }: Remark): string {
  return `${origin}: ${kind}: ${what}: ${instead}`
}
