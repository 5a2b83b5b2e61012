import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import type { Config } from '../config/config.ts'
import { hostAndPort } from '../http/listen-address.ts'
import { pinOfKey } from '../x509/spki.ts'

/** Where hosts reach this server, as far as the configuration tells. */
export function mgmtUrl({ mgmt, mgmtTls }: Pick<Config, 'mgmt' | 'mgmtTls'>): string {
  const [name] = mgmt['public-name']
  const [listener = '127.0.0.1:1313'] = mgmt.listener.filter((address) => !/^(unix|fd):/.test(address))
  const { host, port } = hostAndPort(listener)
  // A name that was written without a port is reached at the default one, by whatever stands in front.
  if (name !== undefined) return `https://${name}`
  const isAnywhere = ['0.0.0.0', '::'].includes(host)
  const shown = isAnywhere ? hostname() : host.includes(':') ? `[${host}]` : host
  // Without TLS only this machine itself may enrol.
  const isPlain = mgmtTls === undefined && /^(127\.|::1$|localhost$)/.test(host)
  return `${isPlain ? 'http' : 'https'}://${shown}:${port}`
}

/** The key of the certificate that TLS is served with, as curl's --pinnedpubkey wants it; undefined: it is not here. */
export async function serverPin({ mgmtTls }: Pick<Config, 'mgmtTls'>): Promise<string | undefined> {
  if (mgmtTls === undefined) return undefined
  const { publicKey } = new X509Certificate(await readFile(mgmtTls.certificateFile))
  return pinOfKey(publicKey)
}
