import { BlockList, isIPv6 } from 'node:net'
import type { Config } from './config/config.ts'
import { hostAndPort } from './http/listen-address.ts'
import type { Listener } from './http/listener.ts'
import { openTlsFiles, type TlsFiles, type TlsFilesParts } from './http/tls-files.ts'
import type { ListenerTls, TlsSource } from './http/tls-server.ts'
import { createListenerSet, type ListenerMode } from './listener-set.ts'

/** The doors of the management interface, with TLS where the configuration has a certificate for them. */
export interface MgmtListeners {
  readonly listeners: readonly Listener[]
  /** @throws Error when it cannot be had; everything is then as before */
  change(config: Config): Promise<void>
  /** The certificate's files may have changed. */
  refresh(): Promise<void>
  close(graceMs: number): Promise<void>
}

export type MgmtListenersParts = TlsFilesParts & {
  readonly openAt: (address: string, tls: ListenerTls | undefined) => Promise<Listener>
}

export function createMgmtListeners(parts: MgmtListenersParts): MgmtListeners {
  let files: TlsFiles | undefined
  /** What is read now; kept apart from what listeners use until a change has succeeded. */
  let upcoming: TlsFiles | undefined
  const listening = new Set<() => void>()
  const source: TlsSource = {
    current: () => {
      const now = upcoming ?? files
      if (now === undefined) throw new Error('a listener for TLS without a certificate')
      return now.current()
    },
    onChange(changed) {
      listening.add(changed)
      return () => listening.delete(changed)
    },
  }
  const tell = () => {
    for (const changed of listening) changed()
  }
  const openAt = (address: string, mode: ListenerMode) =>
    parts.openAt(address, mode === 'plain' ? undefined : { source, asksForCertificate: mode !== 'tls' })
  const set = createListenerSet(openAt, parts.log)

  async function filesFor({ mgmtTls }: Config): Promise<TlsFiles | undefined> {
    if (mgmtTls === undefined) return undefined
    const { certificateFile, keyFile } = mgmtTls
    if (files?.paths.certificateFile === certificateFile && files.paths.keyFile === keyFile) {
      // Not a reason to refuse the rest of a changed configuration: what was read last is still good.
      await files.refresh()
      return files
    }
    return openTlsFiles({ certificateFile, keyFile }, parts)
  }

  return {
    get listeners() {
      return set.listeners
    },
    async change(config) {
      const fresh = await filesFor(config)
      const modeOf = (address: string): ListenerMode => {
        if (fresh === undefined || !isTcp(address)) return 'plain'
        return wantsClientCertificates(config) ? 'tls that asks for a certificate' : 'tls'
      }
      upcoming = fresh
      try {
        await set.change(config.mgmt.listener, modeOf)
      } catch (error) {
        if (fresh !== files) fresh?.[Symbol.dispose]()
        throw error
      } finally {
        upcoming = undefined
      }
      const former = files
      files = fresh
      if (fresh !== former) {
        former?.[Symbol.dispose]()
        fresh?.onChange(tell)
        if (former !== undefined && fresh !== undefined) tell()
      }
      const exposed = exposedListeners(config)
      if (exposed.length > 0)
        parts.log.warn(
          'plain HTTP beyond this machine: set [mgmt] tls-certificate and tls-key, or listen on loopback behind a proxy with TLS',
          { listener: exposed },
        )
    },
    refresh: async () => void (await files?.refresh()),
    async close(graceMs) {
      files?.[Symbol.dispose]()
      await set.close(graceMs)
    },
  }
}

/** Where requests come in plain HTTP from other machines. */
export function exposedListeners({ mgmt, mgmtTls }: Pick<Config, 'mgmt' | 'mgmtTls'>): string[] {
  return mgmtTls === undefined ? mgmt.listener.filter((address) => !staysHere(address)) : []
}

/** Clients are asked for a certificate only where a block has a use for one: browsers would ask their user for it. */
function wantsClientCertificates({ blocks }: Config): boolean {
  return blocks.some(({ credentials }) => credentials.some(({ plugin }) => plugin.name === 'client-certificate'))
}

function isTcp(address: string): boolean {
  return !address.startsWith('unix:') && !address.startsWith('fd:')
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

/** An inherited socket is whoever's who opened it; it is not for us to warn about. */
function staysHere(address: string): boolean {
  if (!isTcp(address)) return true
  const { host } = hostAndPort(address)
  return host === 'localhost' || loopback.check(host.replace(/%.*$/, ''), isIPv6(host) ? 'ipv6' : 'ipv4')
}
