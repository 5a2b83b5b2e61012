/** The comment of our rules: whose they are, so that those of one that was killed can be told from those in use. */
export type RuleOwner = { readonly pid: number; readonly startTime: string }

export function commentOf({ pid, startTime }: RuleOwner): string {
  return `acmems ${pid} ${startTime}`
}

/** @returns undefined for what is no comment of ours */
export function ownerOf(comment: unknown): RuleOwner | undefined {
  const [, pid, startTime] = (typeof comment === 'string' && /^acmems (\d{1,10}) (\d{1,20})$/.exec(comment)) || []
  return pid === undefined || startTime === undefined ? undefined : { pid: Number(pid), startTime }
}
