import { certificateBlockName } from '../config/certificate-block.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import { configuredProbes, expectedFrom, keptSha256Of } from '../deployment-work.ts'
import { isInUse } from '../issuance/records.ts'
import { describePlace, placesOf } from '../probe/probe-place.ts'
import type { ProbeTarget } from '../probe/probe-target.ts'
import { createProber, type Prober } from '../probe/prober.ts'
import type { Verdict } from '../probe/verdict.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { type PickUp, subjectKey } from '../state/deployments.ts'
import { searchCertificates } from './certificate-choice.ts'
import { allEntries } from './certificate-view.ts'
import type { Desk } from './open-installation.ts'
import { pickUpsJson } from './served-view.ts'
import { isoTime } from './table.ts'

export type Checked = {
  readonly block: string
  readonly names: readonly string[]
  /** Of the newest that was issued. */
  readonly serial?: string
  readonly place?: string
  readonly address?: string
  /** `none`: nothing was issued; `nowhere`: there is no place to look at. */
  readonly verdict: Verdict | 'none' | 'nowhere'
  readonly isWrong: boolean
  readonly servedSerial?: string
  readonly servedUntil?: string | undefined
  readonly reason?: string
  readonly isInstalledHere: boolean
  readonly pickUps: readonly { client: string; serial: string; at: string | undefined }[]
}

type Wish = { readonly at: readonly ProbeTarget[]; readonly grace: number }

const maxAtOnce = 8
const everyName: ProbeTarget = { scheme: 'tls', port: 443, at: 'names', serverName: undefined }

/** Connects wherever the chosen certificates ought to be served. @throws Error when one that is named does not exist */
export async function checkDeployments(desk: Desk, words: readonly string[], wish: Wish): Promise<Checked[]> {
  const prober = createProber({ signal: desk.context.signal })
  const probes = configuredProbes(desk.config)
  const authOf = await authBlocks(desk)
  const { entries, missing } = await choose(desk, words)
  const waiting = [...entries.entries()]
  const checked: Checked[][] = []
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, entry] = next
      const configured = probes.get(entry.block) ?? probes.get(authOf.get(entry.block) ?? '')
      const targets = wish.at.length > 0 ? wish.at : configured
      // `probe = no` is meant for everybody who does not ask for it by name.
      if (targets?.length === 0 && words.length === 0) continue
      checked[index] = await checkEntry(desk, prober, entry, targets?.length ? targets : [everyName], wish.grace)
    }
  }
  await Promise.all(Array.from({ length: maxAtOnce }, work))
  return [...checked.flat(), ...missing]
}

/** Of certificates that hosts fetch as boxes: the block whose callers do, by the certificate's own. */
async function authBlocks({ config, state }: Desk): Promise<Map<string, string>> {
  const registered = (await state.boxRegistrations.list()).map(({ name, block }) => [name, block] as const)
  const written = config.certificates.flatMap(({ name, values: { auth } }) =>
    auth === undefined ? [] : [[name, auth] as const],
  )
  return new Map([...registered, ...written].map(([name, auth]) => [certificateBlockName(name), auth]))
}

async function choose(desk: Desk, words: readonly string[]): Promise<{ entries: StoredEntry[]; missing: Checked[] }> {
  const { state, clock, config } = desk
  const nowMs = clock.nowMs()
  const managed = new Map(config.certificates.map((section) => [certificateBlockName(section.name), section]))
  const wanted = words.length === 0 ? undefined : new Set<string>()
  const sections = new Set<string>()
  for (const word of words) {
    const block = certificateBlockName(word)
    if (managed.has(block)) sections.add(block)
    else {
      const found = await searchCertificates(state.register, word)
      if (found.length === 0)
        throw new Error(`no certificate has the id, the serial or the name ${word}, and no section`)
      for (const { id } of found) wanted?.add(id)
    }
  }
  const newest = new Map<string, StoredEntry>()
  for await (const entry of allEntries(state.register)) {
    if (entry.revokedAtMs !== undefined || entry.notAfterMs <= nowMs) continue
    const isNamed = wanted?.has(entry.id) === true || sections.has(entry.block)
    if (!isNamed && (wanted !== undefined || !isMeant(entry))) continue
    const key = subjectKey(entry)
    const former = newest.get(key)
    if (former === undefined || former.issuedAtMs < entry.issuedAtMs) newest.set(key, entry)
  }
  const entries = [...newest.values()]
  const without = [...managed].filter(
    ([block]) => (wanted === undefined || sections.has(block)) && !entries.some((entry) => entry.block === block),
  )
  const missing = without.map(([block, { values }]): Checked => {
    const names = identifiersOf(values).map(({ value }) => value)
    const reason = 'nothing was issued yet'
    return { block, names, verdict: 'none', isWrong: true, reason, isInstalledHere: false, pickUps: [] }
  })
  return { entries, missing }

  function isMeant(entry: StoredEntry): boolean {
    // Renewed, and nobody came for it: that is what is looked for.
    return isInUse(entry) || entry.supersededAtMs === undefined
  }
}

async function checkEntry(
  desk: Desk,
  prober: Prober,
  entry: StoredEntry,
  targets: readonly ProbeTarget[],
  graceMs: number,
): Promise<Checked[]> {
  const { state, clock, context } = desk
  const { block, names, serial } = entry
  const pickUps = await state.deployments.pickUpsOf({ block, names })
  const section = desk.config.certificates.find(({ name }) => certificateBlockName(name) === block)
  const isInstalledHere = section !== undefined && section.values.recipient === undefined
  const common = { block, names, serial, isInstalledHere, pickUps: pickUpsJson(pickUps) }
  const places = targets.flatMap((target) => placesOf(target, names, clientsOf(pickUps)))
  if (places.length === 0) {
    const reason = 'there is no place to look at: say one with probe or --at'
    return [{ ...common, verdict: 'nowhere', isWrong: false, reason }]
  }
  const runtime = await desk.openRuntime()
  const wanted = { names, serial, notBeforeMs: entry.notBeforeMs }
  const expected = await expectedFrom([entry], wanted, (one) => keptSha256Of(one, runtime, context))
  const checked: Checked[] = []
  for (const place of places) {
    const finding = await prober(place, expected)
    const isYoung = finding.verdict === 'older' && clock.nowMs() - entry.issuedAtMs < graceMs
    checked.push({
      ...common,
      place: describePlace(place),
      verdict: finding.verdict,
      isWrong: finding.verdict !== 'newest' && !isYoung,
      ...(finding.address === undefined ? {} : { address: finding.address }),
      ...(finding.serial === undefined ? {} : { servedSerial: finding.serial }),
      servedUntil: isoTime(finding.notAfterMs),
      ...(finding.reason === undefined ? {} : { reason: finding.reason }),
    })
  }
  return checked
}

/** Everybody who has one that is good still, or was a moment ago. */
function clientsOf(pickUps: readonly PickUp[]): string[] {
  return [...new Set(pickUps.map(({ client }) => client))]
}
