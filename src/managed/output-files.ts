import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { CertificateValues } from '../config/certificate-options.ts'
import type { Chain } from '../x509/chain.ts'
import { formatPem } from '../x509/pem.ts'

/** A file to be installed. */
export type OutputFile = {
  readonly path: string
  readonly content: Uint8Array
  readonly mode: number
  readonly holdsKey: boolean
}

/** A PKCS #12 file of the chain and its key. */
export type MakePkcs12 = (chain: Chain, keyPem: Uint8Array, password: string) => Promise<Uint8Array>

/** As certbot and lego call them: what reads those reads these. */
const namesInDirectory = {
  key: 'privkey.pem',
  certificate: 'cert.pem',
  chain: 'chain.pem',
  fullchain: 'fullchain.pem',
} as const

/** Where everything goes by today's configuration; the keys last, where there is an order. */
export async function outputFiles(
  values: CertificateValues,
  chain: Chain,
  keyPem: Uint8Array,
  makePkcs12: MakePkcs12,
): Promise<OutputFile[]> {
  const { mode, 'key-mode': keyMode } = values
  const pem = (...certificates: Chain['issuers']) =>
    Buffer.from(certificates.map(({ x509 }) => formatPem('CERTIFICATE', x509.raw)).join(''), 'latin1')
  const contents: [keyof typeof namesInDirectory, Uint8Array][] = [
    ['chain', pem(...chain.issuers)],
    ['certificate', pem(chain.leaf)],
    ['fullchain', pem(chain.leaf, ...chain.issuers)],
    ['key', keyPem],
  ]
  const files = contents.flatMap(([output, content]): OutputFile[] => {
    const path = pathOf(values, output)
    const holdsKey = output === 'key'
    return path === undefined ? [] : [{ path, content, holdsKey, mode: holdsKey ? keyMode : mode }]
  })
  if (values.pkcs12 === undefined) return files
  const content = await makePkcs12(chain, keyPem, values['pkcs12-password'] ?? '')
  return [...files, { path: values.pkcs12, content, mode: keyMode, holdsKey: false }]
}

/** The files that there should be, for a look without their content. */
export function outputPaths(values: CertificateValues): string[] {
  const outputs = Object.keys(namesInDirectory) as (keyof typeof namesInDirectory)[]
  return [...outputs.map((output) => pathOf(values, output)), values.pkcs12].filter((path) => path !== undefined)
}

function pathOf(values: CertificateValues, output: keyof typeof namesInDirectory): string | undefined {
  return values.directory === undefined ? values[output] : join(values.directory, namesInDirectory[output])
}

export function sha256Of(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
