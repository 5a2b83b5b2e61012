import type { Section } from '../config/ini.ts'
import { parseTcpListener } from '../plugins/option-values.ts'
import { type Opening, openingOf, type Protocol } from './opening.ts'

/** A kind of [verification] that listens: for what, and where when its section does not say. */
export type ListeningKind = { readonly type: string; readonly protocols: readonly Protocol[]; readonly usual: string }

/**
 * What the listeners of the configuration's [verification] sections need opened, by port. Ports of listeners that
 * nobody outside can come to are there, too: with nothing to open.
 * @param implied the section that is there without being written
 * @throws Error naming the place of a listener that cannot be understood
 */
export function openablePorts(
  sections: readonly Section[],
  kinds: readonly ListeningKind[],
  implied: { readonly name: string; readonly type: string },
): Map<number, Opening[]> {
  const ports = new Map<number, Opening[]>()
  const written = sections.filter(({ kind }) => kind === 'verification')
  const types = written.map(({ entries }) => ({ entries, type: entries.find(({ key }) => key === 'type')?.value }))
  const all = written.some(({ name }) => name === implied.name)
    ? types
    : [...types, { entries: [], type: implied.type }]
  for (const { entries, type } of all) {
    const kind = kinds.find((one) => one.type === type)
    if (kind === undefined) continue
    const listeners = entries.filter(({ key }) => key === 'listener')
    const places = listeners.length === 0 ? [{ value: kind.usual, origin: `type = ${kind.type}` }] : listeners
    for (const { value, origin } of places)
      for (const listener of value.split(/\s+/).filter(Boolean)) add(ports, listener, kind.protocols, origin)
  }
  return ports
}

function add(ports: Map<number, Opening[]>, listener: string, protocols: readonly Protocol[], origin: string): void {
  try {
    const port = Number(/:(\d+)$/.exec(parseTcpListener(listener))?.[1])
    const known = ports.get(port) ?? []
    const openings = protocols.flatMap((protocol) => openingOf(listener, protocol) ?? [])
    ports.set(port, [...known, ...openings.filter((opening) => !known.some((one) => isSame(one, opening)))])
  } catch (error) {
    throw new Error(`${origin}: ${error instanceof Error ? error.message : 'unknown reason'}`, { cause: error })
  }
}

function isSame(left: Opening, right: Opening): boolean {
  return left.family === right.family && left.protocol === right.protocol && left.address === right.address
}
