import { randomBytes } from 'node:crypto'
import { Command } from 'commander'
import { createAskedAnswers } from '../answers/asked-answers.ts'
import { createSetupFollower } from '../answers/setup-follower.ts'
import { maxReplyBytes } from '../answers/setup-message.ts'
import { createAsker } from '../channel/asker.ts'
import { ownRights } from '../channel/permissions.ts'
import { systemClock } from '../clock.ts'
import { environment } from '../config/environment.ts'
import { adoptSockets, systemdDescriptors } from '../http/inherited-sockets.ts'
import { createLog } from '../log.ts'
import type { Logger } from '../plugin-api.ts'
import { createResponders } from '../responders.ts'
import { createSystemdNotifier } from '../systemd-notify.ts'
import { readDescriptors } from './descriptors.ts'
import { logReader } from './log-reader.ts'
import { stopSignal } from './stop-signal.ts'

type Flags = { readonly socket: string; readonly sockets?: string; readonly debug: boolean }

/** A validator has waited long enough by then. */
const answerMs = 5000

/** `acmems responder`: what answers validators, as a process that can do nothing else. */
export function responderCommand(): Command {
  return new Command('responder')
    .summary('answer validations in a process of its own, for the server at a socket')
    .description(
      'Answer the CA\'s validations (http-01, tls-alpn-01, dns-01) in a process that has no key, no state and no\nconfiguration: where to listen, and each single answer, comes from the server, whose [process] responder names the\nsame socket. Ports that systemd opened are used where they fit. While the server is away, the answer is "later".\nSIGTERM and SIGINT end it.',
    )
    .requiredOption('--socket <path>', 'where the server tells what is to be answered')
    .option('--sockets <numbers>', 'descriptors of sockets that were opened before, beside those of systemd: 3-5')
    .option('--debug', 'say more', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems responder --socket /run/acmems-answers/S\n  systemd-socket-activate -l 0.0.0.0:80 acmems responder --socket /run/acmems-answers/S\n  acmems responder --socket /run/acmems/answers/S --sockets 3-5',
    )
    .action((flags: Flags) => runResponder(flags))
}

async function runResponder({ socket, sockets, debug }: Flags): Promise<void> {
  const level = debug ? 'debug' : 'info'
  using log = createLog({ level, destination: 'stdout', format: 'auto' }, logReader())
  const stopped = stopSignal()
  const inherited = adoptSockets([...systemdDescriptors(environment), ...readDescriptors(sockets)])
  if (inherited.length > 0) log.info('sockets that were open already', { sockets: inherited })

  const stopping = new AbortController()
  const context = {
    ...{ clock: systemClock, log, signal: stopping.signal },
    randomBytes: (length: number) => randomBytes(length),
  }
  const say = createConnectionLog(log, socket, stopping.signal)
  const asker = createAsker({
    path: socket,
    who: ownRights(),
    clock: systemClock,
    maxLineBytes: maxReplyBytes,
    answerMs,
    onTell: (tell, content) => follower.take(tell, content),
    onUp: say.up,
    onDown: say.down,
  })
  const responders = createResponders(createAskedAnswers(asker.ask), context)
  const follower = createSetupFollower(responders, asker.ask, context)
  const staying = asker.stay()
  const systemd = createSystemdNotifier(environment, log)
  log.info('responding', { socket, pid: process.pid })
  systemd.ready()
  const signal = await stopped
  log.info('stopping', { signal })
  systemd.stopping()
  stopping.abort(new Error('the responder is stopping'))
  await responders.close()
  await asker[Symbol.asyncDispose]()
  await staying
  log.info('stopped')
}

/** It is tried again and again; said is what has changed. */
function createConnectionLog(log: Logger, socket: string, stopping: AbortSignal) {
  let last = ''
  return {
    up: () => {
      log.info('the server is there', { socket })
      last = ''
    },
    down: (why: string) => {
      if (why !== last && !stopping.aborted)
        log.warn('the server is not there: validators are told to come again', { socket, why })
      last = why
    },
  }
}
