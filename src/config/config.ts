import type { AnyPlugin, PluginKind } from '../plugin-api.ts'
import type { CertificateValues } from './certificate-options.ts'
import type { Finding } from './finding.ts'
import type { ProcessValues } from './process-options.ts'
import type { AuthValues, DnsApiValues, LoggingValues, MgmtValues } from './static-sections.ts'

/** A plugin chosen by a section, with its options read. */
export type Chosen<K extends PluginKind = PluginKind> = {
  readonly name: string
  readonly plugin: Extract<AnyPlugin, { kind: K }>
  readonly options: Readonly<Record<string, unknown>>
  readonly origin: string
}

export type AuthBlock = {
  readonly name: string
  readonly origin: string
  readonly credentials: readonly Chosen<'credential'>[]
  readonly values: AuthValues
  /** Resolved by name; every one exists. */
  readonly issuer: string
  readonly verification: string | undefined
  readonly storage: string
}

/** A `[certificate]`: an auth block of its own, for its names and nobody who asks. */
export type CertificateSection = {
  readonly name: string
  readonly origin: string
  readonly values: CertificateValues
  /** Of a box that a host registered; one of the configuration has its recipient in a file. */
  readonly recipientPem?: string
  readonly issuer: string
  readonly verification: string | undefined
}

/** The files of the management listener's certificate; `managed`: the `[certificate]` that keeps them. */
export type MgmtTls = { readonly certificateFile: string; readonly keyFile: string; readonly managed?: string }

/** What the files, the environment and the flags say together. Complete, typed, and final. */
export type Config = {
  readonly files: readonly string[]
  readonly mgmt: MgmtValues
  /** undefined: plain HTTP. */
  readonly mgmtTls: MgmtTls | undefined
  readonly dnsApi: DnsApiValues
  /** undefined: the folder that the platform gives (see paths.ts). */
  readonly stateUrl: string | undefined
  readonly process: ProcessValues
  readonly logging: LoggingValues
  readonly issuers: ReadonlyMap<string, Chosen<'issuer'>>
  /** Issuer to the one that is asked when it cannot. Every name exists; there are no circles. */
  readonly fallbacks: ReadonlyMap<string, string>
  readonly verifications: ReadonlyMap<string, Chosen<'solver' | 'dns'>>
  readonly storages: ReadonlyMap<string, Chosen<'storage'>>
  readonly notifications: ReadonlyMap<string, Chosen<'notifier'>>
  readonly defaultIssuer: string
  readonly defaultVerification: string | undefined
  readonly defaultStorage: string
  readonly blocks: readonly AuthBlock[]
  readonly certificates: readonly CertificateSection[]
  /** Account key plugins; the issuers choose among them by `key = NAME:location`. */
  readonly accountKeys: readonly Extract<AnyPlugin, { kind: 'accountKey' }>[]
  readonly warnings: readonly Finding[]
}
