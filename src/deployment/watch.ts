import type { IssuanceEvent, PluginContext } from '../plugin-api.ts'
import { describePlace, type ProbePlace, placesOf } from '../probe/probe-place.ts'
import type { ProbeTarget } from '../probe/probe-target.ts'
import type { Prober } from '../probe/prober.ts'
import type { Expected } from '../probe/verdict.ts'
import { type Deployments, type DuePickUp, type Subject, subjectKey } from '../state/deployments.ts'
import { settle } from './settle.ts'

/** A certificate that is installed on this machine, its hook run. */
export type Installed = Subject & { readonly serial: string; readonly targets: readonly ProbeTarget[] }

/** What ought to be served. */
export type Wanted = Subject & { readonly serial: string; readonly notBeforeMs?: number }

export type DeploymentWatchParts = {
  readonly deployments: Deployments
  readonly prober: Prober
  readonly context: Pick<PluginContext, 'clock' | 'log' | 'signal'>
  /** Today's configuration: where it is looked at what hosts of this block picked up. */
  targetsOf(block: string): readonly ProbeTarget[]
  /** Every block with such places, and those of what is installed here. */
  probedBlocks(): ReadonlySet<string>
  installed(): Promise<readonly Installed[]>
  /** All that is known of the certificate; what came after it is as good. */
  expectedOf(subject: Subject, serial: string, notBeforeMs: number | undefined): Promise<Expected>
  tell(event: IssuanceEvent): void
}

export interface DeploymentWatch {
  /** Looks at one now, wherever it ought to be served. @returns how often it was wrong by now, at worst */
  lookAt(wanted: Wanted, places: readonly ProbePlace[], remoteAddress: string): Promise<number>
  /** The configuration changed. */
  wake(): void
  /** Again and again, until the context's signal. Never rejects. */
  run(): Promise<void>
}

const [secondMs, minuteMs, dayMs] = [1000, 60_000, 24 * 3_600_000]
const pauseMs = 3 * secondMs
const maxAtOnce = 8
/** A server that was told to read its certificate anew is given this long. */
const settleMs = 2 * secondMs
const takenMs = 10 * minuteMs
const installedDelaysMs = [10 * secondMs, minuteMs, 10 * minuteMs, 60 * minuteMs, 360 * minuteMs]
const pickedUpDelaysMs = [10 * minuteMs, 60 * minuteMs, 360 * minuteMs]

/** Looks whether what was issued is served, and tells when it is not, and when it is again. */
export function createDeploymentWatch(parts: DeploymentWatchParts): DeploymentWatch {
  const { deployments, context, prober } = parts
  const { clock, log, signal } = context
  const looks = new Map<string, { readonly serial: string; readonly atMs: number }>()
  let isWoken = true

  async function lookAt(
    { serial, notBeforeMs, ...subject }: Wanted,
    places: readonly ProbePlace[],
    remoteAddress: string,
  ) {
    const expected = await parts.expectedOf(subject, serial, notBeforeMs)
    let worst = 0
    for (const place of places) {
      const finding = await prober(place, expected)
      if (signal.aborted) return worst
      const shown = describePlace(place)
      const nowMs = clock.nowMs()
      const former = await deployments.findSighting(subject, shown)
      const { sighting, news } = settle(former, shown, serial, finding, nowMs)
      await deployments.saveSighting(subject, sighting)
      worst = Math.max(worst, sighting.failures)
      const { block, names } = subject
      const reason = finding.reason ?? 'the newest certificate'
      const fields = { block, names, serial, place: shown, verdict: finding.verdict, seen: reason }
      if (sighting.failures > 0) log.warn('a certificate is not served', fields)
      if (news === 'served') log.info('a certificate is served again', fields)
      if (news === undefined) continue
      const common = { atMs: nowMs, names, remoteAddress, block, serial, place: shown, reason }
      parts.tell(
        news === 'served' ? { kind: 'certificate.served', ...common } : { kind: 'certificate.not-served', ...common },
      )
    }
    return worst
  }

  async function lookAtInstalled({ serial, targets, ...subject }: Installed): Promise<void> {
    const places = targets.flatMap((target) => placesOf(target, subject.names, []))
    const failures = await lookAt({ ...subject, serial }, places, 'this machine')
    const delayMs = failures === 0 ? dayMs : (installedDelaysMs[failures - 1] ?? dayMs)
    looks.set(subjectKey(subject), { serial, atMs: clock.nowMs() + delayMs })
  }

  async function dueInstalled(): Promise<Installed[]> {
    const due: Installed[] = []
    for (const one of await parts.installed()) {
      const key = subjectKey(one)
      const look = looks.get(key)
      if (look?.serial !== one.serial) looks.set(key, { serial: one.serial, atMs: clock.nowMs() + settleMs })
      else if (look.atMs <= clock.nowMs()) due.push(one)
    }
    return due
  }

  async function lookAtPickUp(pickUp: DuePickUp): Promise<void> {
    const { block, names, client, serial, notBeforeMs } = pickUp
    const targets = parts.targetsOf(block)
    const pickUps = targets.length === 0 ? [] : await deployments.pickUpsOf(pickUp)
    const isPast = pickUps.some((other) => other.client === client && other.notBeforeMs > pickUp.notBeforeMs)
    if (targets.length === 0 || isPast || pickUp.notAfterMs <= clock.nowMs()) {
      await deployments.lookAgain(pickUp, undefined, 0)
      return
    }
    const places = targets.flatMap((target) => placesOf(target, names, [client]))
    const failures = await lookAt({ block, names, serial, notBeforeMs }, places, client)
    const delayMs = failures === 0 ? dayMs : (pickedUpDelaysMs[failures - 1] ?? dayMs)
    await deployments.lookAgain(pickUp, clock.nowMs() + delayMs, failures)
  }

  async function turn(): Promise<void> {
    if (isWoken) {
      isWoken = false
      const blocks = parts.probedBlocks()
      await deployments.keepSightingsOf(blocks)
      await deployments.wakePickUps(blocks, clock.nowMs())
    }
    await atOnce(await dueInstalled(), lookAtInstalled)
    const nowMs = clock.nowMs()
    await atOnce(await deployments.takeDue(nowMs, nowMs + takenMs, maxAtOnce), lookAtPickUp)
  }

  async function atOnce<T>(list: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
    const waiting = [...list]
    const work = async () => {
      for (let one = waiting.shift(); one !== undefined && !signal.aborted; one = waiting.shift()) await act(one)
    }
    await Promise.all(Array.from({ length: maxAtOnce }, work))
  }

  return {
    lookAt,
    wake() {
      isWoken = true
      looks.clear()
    },
    async run() {
      while (!signal.aborted) {
        await turn().catch((error: unknown) => {
          if (!signal.aborted) log.warn('it cannot be looked which certificates are served', { error })
        })
        await clock.sleep(pauseMs, signal).catch(() => undefined)
      }
    },
  }
}
