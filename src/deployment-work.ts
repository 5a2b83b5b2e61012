import { createHash, hash } from 'node:crypto'
import { certificateBlockName } from './config/certificate-block.ts'
import { createPickUpNotes, type PickedUpLeaf, type PickUpNotes } from './deployment/pick-up-notes.ts'
import { createDeploymentWatch, type DeploymentWatch, type Installed } from './deployment/watch.ts'
import type { Installation } from './installation.ts'
import type { RegisterEntry } from './issuance/records.ts'
import { readMemory } from './managed/memory.ts'
import type { Managed } from './managed/upkeep.ts'
import type { IssuanceEvent } from './plugin-api.ts'
import type { ProbeTarget } from './probe/probe-target.ts'
import { createProber } from './probe/prober.ts'
import type { Expected } from './probe/verdict.ts'
import type { Runtime } from './runtime.ts'
import type { BoxContent } from './state/boxes.ts'
import { parseChain } from './x509/chain.ts'
import { parseCsrPem } from './x509/csr.ts'

export type DeploymentWorkParts = Pick<Installation, 'state' | 'context'> & {
  /** Today's configuration. */
  readonly runtime: () => Runtime
  readonly managed: () => readonly Managed[]
  readonly tell: (event: IssuanceEvent) => void
  readonly later: (act: () => void) => void
}

export interface DeploymentWork {
  readonly notes: PickUpNotes
  readonly watch: DeploymentWatch
  /** What is installed here and to be looked at. */
  installed(): Promise<readonly Installed[]>
  noteBox(box: BoxContent, client: string): void
}

/** Who picked up what, and whether it is served: for the server, and for a command that looks once. */
export function createDeploymentWork(parts: DeploymentWorkParts): DeploymentWork {
  const { state, context, runtime, managed, tell, later } = parts
  const { deployments, register } = state
  const boxLeaves = new Map<string, { readonly chainHash: string; readonly leaf: PickedUpLeaf }>()

  const remembered = new WeakMap<Runtime, { boxes: number; probes: ReturnType<typeof probesIn> }>()
  function probesOf(of: Runtime): ReturnType<typeof probesIn> {
    let known = remembered.get(of)
    // Hosts register boxes meanwhile.
    if (known?.boxes !== of.boxBlocks.size) {
      known = { boxes: of.boxBlocks.size, probes: probesIn(of) }
      remembered.set(of, known)
    }
    return known.probes
  }

  async function installed(): Promise<Installed[]> {
    const list: Installed[] = []
    for (const one of managed()) {
      const targets = meant(one.section.values.probe)
      if (targets.length === 0 || one.section.values.recipient !== undefined) continue
      // What is damaged is told by whoever repairs it.
      const { hookDue } = await readMemory(one.folder).catch(() => ({ hookDue: true }))
      const current = hookDue === undefined ? await one.holding.current().catch(() => undefined) : undefined
      if (current === undefined || current.isHookDue === true) continue
      const { identifiers } = parseCsrPem(Buffer.from(current.postedBytes).toString('latin1'))
      list.push({ block: one.block, names: identifiers.map(({ value }) => value), serial: current.serial, targets })
    }
    return list
  }

  const watch = createDeploymentWatch({
    deployments,
    prober: createProber({ signal: context.signal }),
    context,
    targetsOf: (block) => probesOf(runtime()).get(block) ?? [],
    probedBlocks: () => new Set(probesOf(runtime()).keys()),
    installed,
    tell,
    async expectedOf({ block, names }, serial, notBeforeMs) {
      const entries = await register.findCurrent(block, names, context.clock.nowMs())
      return await expectedFrom(entries, { names, serial, notBeforeMs }, (entry) =>
        keptSha256Of(entry, runtime(), context),
      )
    },
  })
  const notes = createPickUpNotes({
    ...context,
    deployments,
    later,
    isProbed: (block) => probesOf(runtime()).has(block),
  })
  return {
    watch,
    installed,
    notes,
    noteBox({ name, chainPem }, client) {
      const { boxBlocks, rules } = runtime()
      const auth = boxBlocks.get(name)
      if (rules.blocks.some((block) => block.name === auth && block.unrecorded === true)) return
      let known = boxLeaves.get(name)
      const chainHash = hash('sha256', chainPem, 'base64')
      if (known?.chainHash !== chainHash) {
        // What is damaged fails whoever opens it, and not us.
        const leaf = leafOf(chainPem)
        if (leaf === undefined) return
        known = { chainHash, leaf }
        boxLeaves.set(name, known)
      }
      notes.note(certificateBlockName(name), client, known.leaf)
    },
  }
}

/** Where it is looked, by block, as far as the configuration says so; an empty list: nowhere. */
export function configuredProbes({ blocks, certificates }: Runtime['config']): Map<string, readonly ProbeTarget[]> {
  const all = [
    ...blocks.map(({ name, values }) => ({ name, probe: values.probe })),
    ...certificates.map(({ name, values }) => ({ name: certificateBlockName(name), probe: values.probe })),
  ]
  return new Map(all.filter(({ probe }) => probe.length > 0).map(({ name, probe }) => [name, meant(probe)]))
}

/** A box that says nothing itself is looked at where its auth block says. */
function probesIn(runtime: Pick<Runtime, 'config' | 'boxBlocks'>): Map<string, readonly ProbeTarget[]> {
  const probes = configuredProbes(runtime.config)
  for (const [box, auth] of runtime.boxBlocks) {
    const [block, targets] = [certificateBlockName(box), probes.get(auth)]
    if (targets !== undefined && !probes.has(block)) probes.set(block, targets)
  }
  return new Map([...probes].filter(([, targets]) => targets.length > 0))
}

function meant(probe: readonly (ProbeTarget | 'no')[]): ProbeTarget[] {
  return probe.filter((target) => target !== 'no')
}

/** @param entries what is good of the same block for the same names */
export async function expectedFrom(
  entries: readonly RegisterEntry[],
  { names, serial, notBeforeMs }: { names: readonly string[]; serial: string; notBeforeMs: number | undefined },
  sha256Of: (entry: RegisterEntry) => Promise<string | undefined>,
): Promise<Expected> {
  const own = entries.find((entry) => entry.serial === serial)
  const beginMs = notBeforeMs ?? own?.notBeforeMs ?? Number.POSITIVE_INFINITY
  const sha256 = own === undefined ? undefined : await sha256Of(own)
  return {
    names,
    serial,
    notBeforeMs: beginMs,
    alsoSerials: entries.filter((entry) => entry.notBeforeMs >= beginMs).map((entry) => entry.serial),
    ...(sha256 === undefined ? {} : { sha256 }),
  }
}

/** Of the certificate itself, as it is kept; undefined: it is not kept any more. */
export async function keptSha256Of(
  entry: RegisterEntry,
  { storages }: Runtime,
  context: Installation['context'],
): Promise<string | undefined> {
  const { postedBytes, issuedBy, profile } = entry
  const csr = parseCsrPem(Buffer.from(postedBytes).toString('latin1'))
  const pem = await storages.get(entry.storage)?.find({ postedBytes, csr, issuerKey: issuedBy, profile }, context)
  if (pem === undefined) return undefined
  const { leaf } = parseChain(pem)
  return leaf.serial === entry.serial ? createHash('sha256').update(leaf.x509.raw).digest('hex') : undefined
}

function leafOf(chainPem: string): PickedUpLeaf | undefined {
  try {
    const { x509: _, ...leaf } = parseChain(chainPem).leaf
    return leaf
  } catch {
    return undefined
  }
}
