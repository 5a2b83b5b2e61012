import type { ProblemError } from '../acme/problem.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { type IssueRequest, type Kept, namesOf } from './kept.ts'
import { needOf } from './need.ts'
import type { CertificateRegister, RegisterEntry } from './records.ts'
import { afterFailure, planRenewal, randomShareOf } from './renewal-plan.ts'

/** Why a certificate is wanted. */
export type Occasion = 'asked' | 'renewal' | 'resume'

/** Keeps the register; trouble with it is logged, and fails no issuance. */
export type Registrar = {
  /** A host got this certificate. */
  noteAsked(request: IssueRequest, kept: Kept): Promise<void>
  /** A certificate was issued. */
  enter(request: IssueRequest, chain: Chain, issuedBy: string, occasion: Occasion): Promise<void>
  /** A renewal that a host asked for failed: not again at once. */
  postpone(request: IssueRequest, problem: ProblemError): Promise<void>
}

/** Who asks is written down at most so often. */
const askedResolutionMs = 6 * 3_600_000
/** Of some 200 octets. Were there more hosts than are remembered, each would be written down whenever it asks. */
const maxAskedRemembered = 100_000

export function createRegistrar(register: CertificateRegister, { clock, log, randomBytes }: PluginContext): Registrar {
  const context = { randomBytes }
  /** Need and serial, and when it was last written down that a host asked for it. */
  const asked = new Map<string, number>()

  async function noteAsked(request: IssueRequest, kept: Kept): Promise<void> {
    const nowMs = clock.nowMs()
    const { id } = needOf(request, request.means)
    const key = `${id} ${kept.chain.leaf.serial}`
    const lastMs = asked.get(key)
    if (lastMs !== undefined && Math.abs(nowMs - lastMs) < askedResolutionMs) return
    if (asked.size >= maxAskedRemembered) asked.clear()
    asked.set(key, nowMs)
    await quietly('who uses a certificate could not be written down', request, async () => {
      if (!(await register.noteAsked(id, nowMs))) await enter(request, kept.chain, kept.issuer.key, 'asked')
    })
  }

  /** In the register is what can be renewed: what no storage keeps cannot. */
  async function enter(request: IssueRequest, chain: Chain, issuedBy: string, occasion: Occasion): Promise<void> {
    const { grant, postedBytes, means } = request
    if (means.storage.keepsNothing === true) return
    await quietly('a certificate could not be entered into the register', request, async () => {
      const nowMs = clock.nowMs()
      const { id } = needOf(request, means)
      const former = occasion === 'asked' ? undefined : await register.find(id)
      const { serial, notBeforeMs, notAfterMs } = chain.leaf
      const entry: RegisterEntry = {
        id,
        block: grant.block,
        issuer: grant.issuer,
        storage: grant.storage,
        profile: grant.profile,
        names: namesOf(grant),
        postedBytes,
        remoteAddress: grant.caller.remoteAddress,
        issuedBy,
        serial,
        notBeforeMs,
        notAfterMs,
        issuedAtMs: nowMs,
        askedAtMs: former?.askedAtMs ?? nowMs,
        ...(former?.supersededAtMs === undefined ? {} : { supersededAtMs: former.supersededAtMs }),
        plan: planRenewal(chain.leaf, means.storage.renewWithinMs, nowMs, randomShareOf(context)),
      }
      await register.record(entry, occasion === 'asked')
    })
  }

  async function postpone(request: IssueRequest, problem: ProblemError): Promise<void> {
    await quietly('a failed renewal could not be written down', request, async () => {
      const { id } = needOf(request, request.means)
      const entry = await register.find(id)
      if (entry === undefined) return
      const notBeforeMs = problem.retry.when === 'notBefore' ? problem.retry.atMs : 0
      const plan = afterFailure(entry.plan, entry, clock.nowMs(), randomShareOf(context), notBeforeMs)
      await register.savePlan(id, plan, plan.retryAtMs, problem.message)
    })
  }

  async function quietly(trouble: string, request: IssueRequest, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      log.error(trouble, { names: namesOf(request.grant), error })
    }
  }

  return { noteAsked, enter, postpone }
}
