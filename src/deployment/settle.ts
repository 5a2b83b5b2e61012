import type { Finding } from '../probe/verdict.ts'
import type { Sighting } from '../state/deployments.ts'

export type Settled = {
  readonly sighting: Sighting
  /** What whoever is to know is told now. */
  readonly news?: 'not-served' | 'served'
}

/** A server that reads its certificate anew needs a moment: what is wrong once is no news. */
const failuresUntilTold = 2

/** What a finding makes of what was seen at the same place before. */
export function settle(former: Sighting | undefined, place: string, serial: string, finding: Finding, nowMs: number) {
  const isGood = finding.verdict === 'newest'
  const isSame = former?.serial === serial && former.verdict === finding.verdict
  const failures = isGood ? 0 : (former?.serial === serial ? former.failures : 0) + 1
  const wasTold = former?.told === true
  const sighting: Sighting = {
    ...{ place, serial, verdict: finding.verdict, failures, seenAtMs: nowMs },
    ...(finding.serial === undefined ? {} : { servedSerial: finding.serial }),
    ...(finding.notAfterMs === undefined ? {} : { servedUntilMs: finding.notAfterMs }),
    ...(finding.reason === undefined ? {} : { reason: finding.reason }),
    sinceMs: isSame ? former.sinceMs : nowMs,
    told: !isGood && (wasTold || failures >= failuresUntilTold),
  }
  const news = isGood && wasTold ? 'served' : failures === failuresUntilTold ? 'not-served' : undefined
  return { sighting, ...(news === undefined ? {} : { news }) } satisfies Settled as Settled
}
