import { tokenPattern } from '../acme/challenge.ts'
import { type JsonObject, requireString } from '../acme/json-object.ts'
import type { LiveAnswers } from '../responder/live-answers.ts'
import { maxTextsBytes } from './setup-message.ts'

/** In the text form of DNS, where an octet may take four characters. */
const maxNameLength = 1100

/**
 * What a responder may ask about answers; there is no question whose answer is a list of what there is.
 * @returns undefined when it is none of these questions
 * @throws TypeError when it is one, and wrong
 */
export function askNarrowly(answers: LiveAnswers, ask: string, content: JsonObject): Promise<JsonObject> | undefined {
  const name = (key: string) => {
    const text = requireString(content, key)
    if (text.length > maxNameLength) throw new TypeError(`"${key}" is too long for a name`)
    return text
  }
  switch (ask) {
    case 'token': {
      const token = requireString(content, 'token')
      if (!tokenPattern.test(token)) throw new TypeError('"token" is none')
      return answers.find({ type: 'http-01', token, host: name('host') }, content.relayed === true).then(foundOf)
    }
    case 'shown':
      return answers.shown({ type: 'tls-alpn-01', host: name('host') }).then(foundOf)
    case 'texts':
      return answers.texts.find(name('owner'), name('other')).then((texts) => ({ texts: fittingOf(texts) }))
    case 'below':
      return answers.texts.hasBelow(name('name'), name('other')).then((is) => ({ is }))
    default:
      return undefined
  }
}

function foundOf(found: string | undefined): JsonObject {
  return found === undefined ? {} : { found }
}

/** As many as one DNS message could hold. */
function fittingOf(texts: readonly string[]): readonly string[] {
  let left = maxTextsBytes
  return texts.filter((text) => {
    left -= Buffer.byteLength(text) + 3
    return left >= 0
  })
}
