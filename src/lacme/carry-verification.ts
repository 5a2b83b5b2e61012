import type { LacmeSetup } from './lacme-setup.ts'
import { reasonOf } from './lacme-setup.ts'
import { isWritable, type OwnLine, type OwnSection } from './own-text.ts'
import { type Remark, remark } from './remark.ts'
import { expandSpecifiers, type Runner } from './specifiers.ts'

const usualSocket = '/run/lacme-www.socket'
const behindProxy = '127.0.0.1:1380'
const challengePath = '/.well-known/acme-challenge'

/** `[webserver]` becomes the http01 verification. */
export function carryVerification(setup: LacmeSetup, runner: Runner): OwnSection {
  const section = setup.main.sections.get('webserver')
  const values = section?.values ?? new Map<string, never>()
  const remarks: Remark[] = []
  const lines: OwnLine[] = [{ key: 'type', value: 'http01', because: 'all that lacme can' }]
  for (const key of ['user', 'group', 'command']) {
    const value = values.get(key)
    if (value !== undefined)
      remarks.push(
        remark(
          'left out',
          value.origin,
          `[webserver] ${key} = ${value.text}`,
          'the server answers by itself, or acmems responder as a user of its own: [process] (docs/processes.md)',
        ),
      )
  }
  const directory = values.get('challenge-directory')
  const iptables = values.get('iptables')
  if (iptables?.text.toLowerCase() === 'yes')
    remarks.push(
      remark(
        'left out',
        iptables.origin,
        'iptables = Yes',
        '[process] firewall opens the port while it is needed (docs/processes.md); or keep it open in your firewall',
      ),
    )
  if (directory !== undefined && directory.text !== '') {
    lines.push(...carryDirectory(directory.text, directory.origin, runner, remarks))
  } else {
    const listen = values.get('listen')
    const origin = listen?.origin ?? section?.origin ?? setup.configFile
    lines.push(...carryListeners(listen?.text || usualSocket, origin, remarks))
  }
  return { header: 'verification "http"', origin: section?.origin, lines, remarks }
}

/** lacme writes into the folder itself; we write below a document root, where every web server looks. */
function carryDirectory(text: string, origin: string, runner: Runner, remarks: Remark[]): OwnLine[] {
  try {
    const path = expandSpecifiers(text, runner).replace(/(?<=.)\/+$/, '')
    if (!path.startsWith('/') || !isWritable(path)) throw new Error('it must be an absolute path')
    if (!path.endsWith(challengePath))
      remarks.push(
        remark(
          'left out',
          origin,
          `challenge-directory = ${text}`,
          `answers are written into ${path}${challengePath}: let the web server take ${challengePath}/ from there (nginx: root ${path}; instead of alias)`,
        ),
      )
    return [{ key: 'directory', value: path, because: origin }]
  } catch (error) {
    remarks.push(remark('left out', origin, `challenge-directory = ${text}`, reasonOf(error)))
    return []
  }
}

function carryListeners(text: string, origin: string, remarks: Remark[]): OwnLine[] {
  const listeners: string[] = []
  for (const word of text.split(/[ \t,]\s*/).filter(Boolean)) {
    const [, host, port = '80'] = /^(\d+(?:\.\d+){3}|\[[0-9A-Fa-f:.]{2,39}\])(?::(\d{1,5}))?$/.exec(word) ?? []
    if (word.startsWith('/')) {
      listeners.push(behindProxy)
      remarks.push(
        remark(
          'left out',
          origin,
          `listen = ${word}`,
          `answers are given over TCP: let the web server forward ${challengePath}/ to http://${behindProxy} with the Host of the request (docs/reverse-proxies.md)`,
        ),
      )
    } else if (host === undefined || Number(port) > 65_535) {
      remarks.push(remark('left out', origin, `listen = ${word}`, 'it is no address'))
    } else listeners.push(`${host}:${port}`)
  }
  // Where the system lets it, lacme's [::] answers over IPv4, too; here each listener is of one kind.
  for (const listener of listeners.filter((one) => one.startsWith('[::]:'))) {
    const other = listener.replace('[::]', '0.0.0.0')
    if (!listeners.includes(other)) listeners.push(other)
  }
  return [...new Set(listeners)].map((value) => ({ key: 'listener', value, because: origin }))
}
