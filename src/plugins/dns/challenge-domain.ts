import type { ChallengeTask, TxtRecord } from '../../plugin-api.ts'

const prefix = '_acme-challenge.'

/**
 * The domain for those who put `_acme-challenge.` before it themselves. A delegation leads them to where the record is
 * when its target has that prefix; where it has not, they get the name that is proven, and must know the way.
 */
export function domainOf({ fqdn }: TxtRecord, task: ChallengeTask | undefined): string {
  return fqdn.startsWith(prefix) || task === undefined
    ? fqdn.slice(fqdn.startsWith(prefix) ? prefix.length : 0)
    : task.identifier.value
}
