// An issuer that does what a file tells it, good or bad; loaded by [setup] plugin.
import { createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseDnsName } from '../src/acme/identifier.ts'
import type { Option, Plugin } from '../src/plugin-api.ts'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { formatPem } from '../src/x509/pem.ts'

const options = {
  folder: { meaning: 'with the instruction', type: 'path', required: true, parse: String },
} as const satisfies Record<string, Option<unknown> & { required?: true }>

export type Instruction = 'good' | 'other name' | 'one name more' | 'other key' | 'older' | 'over' | 'cut off' | 'away'

const dayMs = 86_400_000
const makeKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

/** In the folder: `instruction` is read, `asked` gets a line for every order, `root.pem` and its key are made. */
export default {
  kind: 'issuer',
  name: 'hostile',
  meaning: 'for tests',
  options,
  needsNoVerification: true,
  async create({ folder }) {
    const at = (name: string) => join(folder, name)
    const span = { notBeforeMs: Date.now() - 100 * dayMs, notAfterMs: Date.now() + 1000 * dayMs }
    if (!existsSync(at('root.pem'))) {
      const key = makeKey()
      const der = buildCertificate({
        ...{ kind: 'authority', commonName: 'hostile', publicKey: createPublicKey(key), issuer: { key }, ...span },
        serial: randomBytes(16),
      })
      writeFileSync(at('root.key'), key.export({ type: 'pkcs8', format: 'pem' }))
      writeFileSync(at('root.pem'), formatPem('CERTIFICATE', der))
    }
    const { createPrivateKey } = await import('node:crypto')
    const issuer = {
      key: createPrivateKey(readFileSync(at('root.key'))),
      certificate: new X509Certificate(readFileSync(at('root.pem'))),
    }
    return {
      key: `hostile:${folder}`,
      async advance(grant) {
        const instruction = readFileSync(at('instruction'), 'utf8').trim() as Instruction
        const { identifiers, publicKey } = grant.csr
        appendFileSync(at('asked'), `${identifiers.map(({ value }) => value).join(' ')}\n`)
        if (instruction === 'away') throw new Error('the CA is away')
        const bank = parseDnsName('bank.example.org')
        const ages = { older: [-40, 40], over: [-9, -1] } as Record<string, [number, number]>
        const [from, to] = ages[instruction] ?? [-1 / 24, 90]
        const der = buildCertificate({
          kind: 'leaf',
          identifiers:
            instruction === 'other name'
              ? [bank]
              : instruction === 'one name more'
                ? [...identifiers, bank]
                : identifiers,
          publicKey: instruction === 'other key' ? createPublicKey(makeKey()) : publicKey,
          issuer,
          notBeforeMs: Date.now() + from * dayMs,
          notAfterMs: Date.now() + to * dayMs,
          serial: randomBytes(16),
        })
        const pem = formatPem('CERTIFICATE', der)
        const chainPem = `${instruction === 'cut off' ? pem.slice(0, 300) : pem}${readFileSync(at('root.pem'), 'utf8')}`
        return { outcome: 'done', chain: { chainPem, alternatesPem: [] } }
      },
    }
  },
} satisfies Plugin<'issuer', typeof options>
