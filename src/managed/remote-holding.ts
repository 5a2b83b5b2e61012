import { join } from 'node:path'
import { isJsonObject, type JsonObject, requireString } from '../acme/json-object.ts'
import type { CertificateSection } from '../config/config.ts'
import type { Chain } from '../x509/chain.ts'
import { parseCsrPem } from '../x509/csr.ts'
import type { HeldRequest, Holding } from './holding.ts'
import { createIssuerNotes } from './issuer-notes.ts'

/** Asks who has the keys. @throws as the Holding there does, where it answers */
export type AskInstaller = (ask: string, content: JsonObject) => Promise<JsonObject>

export type RemoteHoldingParts = {
  readonly ask: AskInstaller
  /** Where we note which issuer a request is for. */
  readonly folder: string
  /** Of the issuer that the section names today. */
  readonly issuerKey: string
}

/**
 * Files of this machine that another process installs, which also has their keys. It gets the section's name, the
 * occasion and a chain, and nothing else: everything about them is in its own configuration.
 */
export function createRemoteHolding(
  { name }: CertificateSection,
  { ask, folder, issuerKey }: RemoteHoldingParts,
): Holding {
  const notes = createIssuerNotes(join(folder, 'issuers.json'), issuerKey)
  const about = async (question: string, content: JsonObject = {}) => await ask(question, { ...content, block: name })

  async function held(reply: JsonObject): Promise<HeldRequest> {
    const csr = requireString(reply, 'csr')
    parseCsrPem(csr)
    const { changes } = reply
    const isOther = (await notes.issuerOf(csr)) !== issuerKey
    const said = Array.isArray(changes) ? changes.filter((change) => typeof change === 'string') : []
    return { postedBytes: Buffer.from(csr, 'latin1'), changes: isOther ? [...said, 'issuer'] : said }
  }

  return {
    async next() {
      const reply = await about('next')
      return reply.csr === undefined ? undefined : await held(reply)
    },
    async current() {
      const reply = await about('current')
      if (reply.csr === undefined) return undefined
      const request = await held(reply)
      const { notBeforeMs, hookDue } = reply
      // Another CA may date its certificates back as it likes.
      const isComparable = typeof notBeforeMs === 'number' && !request.changes.includes('issuer')
      return {
        ...request,
        serial: requireString(reply, 'serial'),
        ...(isComparable ? { notBeforeMs } : {}),
        ...(hookDue === true ? { isHookDue: true } : {}),
      }
    },
    async begin() {
      return await held(await about('begin'))
    },
    async discard() {
      await about('discard')
    },
    async install(chain: Chain, occasion) {
      await about('install', { occasion, chain: chain.pem })
    },
    async findDamage() {
      const { damage } = await about('damage')
      if (!isJsonObject(damage)) return undefined
      return { reason: requireString(damage, 'reason'), keyIsLost: damage.keyIsLost === true }
    },
    async tidy() {
      await about('tidy')
    },
  }
}
