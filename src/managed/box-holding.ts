import { identifierKey } from '../acme/identifier.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { BegunBox, Boxes } from '../state/boxes.ts'
import { type Chain, parseChain } from '../x509/chain.ts'
import { parseCsr } from '../x509/csr.ts'
import { formatPem } from '../x509/pem.ts'
import { generatePrivateKey, keyTypeOf, privateKeyPem } from '../x509/private-key.ts'
import type { Recipient } from '../x509/recipient.ts'
import { seal } from '../x509/sealed-key.ts'
import { proveChain } from './chain-proof.ts'
import type { HeldRequest, Holding } from './holding.ts'

export type BoxHoldingParts = {
  readonly boxes: Boxes
  readonly recipient: Recipient
  readonly context: PluginContext
}

/**
 * Sealed boxes in the state: the key is sealed to its recipient in the moment when it is made, and what is saved before
 * the order begins can be opened by nobody else.
 */
export function createBoxHolding(section: CertificateSection, parts: BoxHoldingParts): Holding {
  const { name, values } = section
  const { boxes, recipient, context } = parts

  function held(box: BegunBox): HeldRequest {
    const csr = parseCsr(box.csrDer)
    const wanted = identifiersOf(values).map(identifierKey).sort()
    const changes = [
      ...(csr.identifiers.map(identifierKey).sort().join(' ') === wanted.join(' ') ? [] : ['names']),
      ...(keyTypeOf(csr.publicKey) === values['key-type'] ? [] : ['key type']),
      ...(Buffer.from(box.recipientSpkiDer).equals(recipient.spkiDer) ? [] : ['recipient']),
    ]
    return { postedBytes: Buffer.from(formatPem('CERTIFICATE REQUEST', box.csrDer), 'latin1'), changes }
  }

  /** The plain key never leaves this function. */
  async function makeBox(): Promise<BegunBox> {
    // Loaded when it is needed: ASN.1 is a large library.
    const { buildRequestDer } = await import('./request-draft.ts')
    const key = await generatePrivateKey(values['key-type'])
    const csrDer = buildRequestDer(values, key)
    const plain = privateKeyPem(key)
    try {
      const sealedKeyPem = seal(plain, recipient, context)
      return { name, block: values.auth ?? '', recipientSpkiDer: recipient.spkiDer, sealedKeyPem, csrDer }
    } finally {
      plain.fill(0)
    }
  }

  return {
    async next() {
      const begun = await boxes.findBegun(name)
      return begun === undefined ? undefined : held(begun)
    },
    async current() {
      const box = await boxes.find(name)
      return box === undefined ? undefined : { ...held(box), serial: parseChain(box.chainPem).leaf.serial }
    },
    async begin() {
      return held(await boxes.begin(await makeBox()))
    },
    async discard() {
      const begun = await boxes.findBegun(name)
      if (begun !== undefined) await boxes.abandon(name, begun.csrDer)
    },
    async install(chain: Chain, occasion) {
      if (occasion === 'again') return
      const begun = await boxes.findBegun(name)
      // Another server on this state was quicker.
      if (begun === undefined) return
      proveChain(chain, { need: parseCsr(begun.csrDer), nowMs: context.clock.nowMs() })
      await boxes.complete(name, begun.csrDer, chain.pem)
    },
    findDamage: async () => undefined,
    tidy: async () => undefined,
  }
}
