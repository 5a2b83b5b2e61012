import type { PluginContext } from '../plugin-api.ts'
import type { Deployments, PickUp } from '../state/deployments.ts'
import type { Certificate } from '../x509/certificate.ts'

/** What is said of a certificate; it is kept for every host, and OpenSSL's own view of it is large. */
export type PickedUpLeaf = Omit<Certificate, 'x509'>

/** Remembers who picked up what, without making anybody wait. Disposing of it writes down what is left. */
export interface PickUpNotes extends AsyncDisposable {
  /** May be called for every answer: it is written down once for each host and certificate. */
  note(block: string, client: string, leaf: PickedUpLeaf): void
}

export type PickUpNotesParts = Pick<PluginContext, 'clock' | 'log'> & {
  readonly deployments: Pick<Deployments, 'notePickUp'>
  /** Is it to be looked whether this block's hosts serve what they picked up? */
  isProbed(block: string): boolean
  /** After what is being done now, the answer first of all. */
  later(act: () => void): void
}

/** A host installs what it picked up, and has its server read it. */
const firstLookMs = 2 * 60_000
const maxRemembered = 50_000
const maxWaiting = 1000

export function createPickUpNotes({ deployments, isProbed, later, clock, log }: PickUpNotesParts): PickUpNotes {
  const known = new Set<string>()
  const waiting: PickUp[] = []
  let writing: Promise<void> | undefined

  async function write(): Promise<void> {
    await new Promise<void>((resolve) => later(resolve))
    for (let pickUp = waiting.shift(); pickUp !== undefined; pickUp = waiting.shift()) {
      const lookAtMs = isProbed(pickUp.block) ? pickUp.atMs + firstLookMs : undefined
      await deployments
        .notePickUp(pickUp, lookAtMs)
        .catch((error: unknown) => log.warn('who picked up a certificate could not be written down', { error }))
    }
  }

  return {
    note(block, client, { serial, identifiers, notBeforeMs, notAfterMs }) {
      const key = `${client} ${serial} ${block}`
      if (known.has(key)) return
      // It is no matter of life and death: who asks again is written down then.
      if (waiting.length >= maxWaiting) return
      if (known.size >= maxRemembered) known.clear()
      known.add(key)
      const names = identifiers.map(({ value }) => value)
      waiting.push({ block, names, client, serial, notBeforeMs, notAfterMs, atMs: clock.nowMs() })
      writing ??= write().finally(() => {
        writing = undefined
      })
    },
    async [Symbol.asyncDispose]() {
      await writing
      await write()
    },
  }
}
