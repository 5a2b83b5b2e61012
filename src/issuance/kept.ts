import { believedNowMs } from '../acme/believed-time.ts'
import type { CertificateStorage, ChallengeSolver, Grant, Issuer, KeptRequest, PluginContext } from '../plugin-api.ts'
import { type Chain, checkValidity } from '../x509/chain.ts'
import { createCheckedChains } from './checked-chains.ts'
import { renewalDueAtMs } from './renewal.ts'

/** How a grant is fulfilled: chosen by name from the configuration of the moment. */
export type Means = {
  readonly issuer: Issuer
  readonly solvers: readonly ChallengeSolver[]
  readonly storage: CertificateStorage
  /** Asked when this issuer cannot, for a reason that another can cure. */
  readonly fallback?: Means
}

export type IssueRequest = { readonly grant: Grant; readonly postedBytes: Uint8Array; readonly means: Means }

/** A kept certificate that can be answered. */
export type Kept = {
  readonly chain: Chain
  /** It need not be renewed for a host that asks. */
  readonly fresh: boolean
  readonly issuer: Issuer
}

/** Between two attempts no validator is expected. */
export async function pauseSolvers({ solvers }: Means): Promise<void> {
  await Promise.all(solvers.map((solver) => solver.pause?.()))
}

/** The issuer and what stands in for it, in order. */
export function meansInOrder(first: Means): Means[] {
  const all: Means[] = []
  for (let means: Means | undefined = first; means !== undefined && !all.includes(means); means = means.fallback)
    all.push(means)
  return all
}

export type KeptCertificateFinder = {
  /** The best certificate kept for the request, of its own issuer or of one that stood in for it. */
  find(request: IssueRequest): Promise<Kept | undefined>
  /** The same without trusting any memory: what another server kept a moment ago counts. */
  findAtOnce(request: IssueRequest): Promise<Kept | undefined>
  /** Our clock, unless the issuer's shows that it is wrong. */
  trustedNowMs(issuer: Issuer): Promise<number>
}

/** What two issuers dated no further apart was for one occasion: the first one was slow. CAs backdate by up to an hour. */
const sameOccasionMs = 3_600_000

export function createKeptCertificateFinder(context: PluginContext): KeptCertificateFinder {
  const { clock, log } = context
  const checkedChains = createCheckedChains()

  async function trustedNowMs(issuer: Issuer): Promise<number> {
    const ownMs = clock.nowMs()
    // An issuer that cannot be asked leaves us our own clock.
    const caMs = await issuer.timeMs?.(context).catch(() => undefined)
    const nowMs = believedNowMs(ownMs, caMs)
    if (nowMs !== ownMs)
      log.warn('the clock of this machine and that of the CA differ; the CA is believed', {
        ours: new Date(ownMs).toISOString(),
        theirs: new Date(nowMs).toISOString(),
      })
    return nowMs
  }

  async function judge(chain: Chain, storage: CertificateStorage, issuer: Issuer): Promise<'fresh' | 'due' | 'over'> {
    const at = (nowMs: number) => {
      try {
        checkValidity(chain, nowMs)
      } catch {
        return 'over'
      }
      return nowMs < renewalDueAtMs(chain.leaf, storage.renewWithinMs) ? 'fresh' : 'due'
    }
    const own = at(clock.nowMs())
    // Before an order is made because a certificate ends, the clock that says so is doubted.
    return own === 'fresh' ? own : at(await trustedNowMs(issuer))
  }

  async function findAt(request: IssueRequest, means: Means, look: { atOnce?: true }): Promise<Kept | undefined> {
    const { issuer, storage } = means
    const pem = await storage.find({ ...keptRequest(request, issuer), ...look }, context)
    if (pem === undefined) return undefined
    try {
      const chain = checkedChains.check(pem, request.grant.csr)
      const state = await judge(chain, storage, issuer)
      if (state !== 'over') return { chain, issuer, fresh: state === 'fresh' }
      log.info('a kept certificate is of no use any more', { names: namesOf(request.grant), serial: chain.leaf.serial })
    } catch (error) {
      log.info('a kept certificate is of no use any more', {
        names: namesOf(request.grant),
        reason: error instanceof Error ? error.message : '',
      })
    }
    return undefined
  }

  async function find(request: IssueRequest, look: { atOnce?: true } = {}): Promise<Kept | undefined> {
    let best: Kept | undefined
    for (const means of meansInOrder(request.means)) {
      const kept = await findAt(request, means, look)
      if (kept !== undefined && (best === undefined || isBetter(kept, best))) best = kept
    }
    return best
  }

  return { find, findAtOnce: (request) => find(request, { atOnce: true }), trustedNowMs }
}

/** The first issuer's, unless another one has replaced it since. */
function isBetter(kept: Kept, best: Kept): boolean {
  if (kept.fresh !== best.fresh) return kept.fresh
  return kept.fresh && kept.chain.leaf.notBeforeMs - best.chain.leaf.notBeforeMs > sameOccasionMs
}

export function keptRequest({ grant, postedBytes }: IssueRequest, issuer: Issuer): KeptRequest {
  return { postedBytes, csr: grant.csr, issuerKey: issuer.key, profile: grant.profile }
}

export function namesOf(grant: Grant): string[] {
  return grant.csr.identifiers.map(({ value }) => value)
}
