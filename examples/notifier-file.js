// @ts-check
import { appendFile } from 'node:fs/promises'

const options = /** @type {const} */ ({
  file: { meaning: 'where events are appended, one JSON object a line', type: 'path', required: true, parse: String },
})

/**
 * Writes down what happened. Called after the answer; what it throws is logged and fails nothing.
 * @type {import('acmems/plugin-api').Plugin<'notifier', typeof options>}
 */
export default {
  kind: 'notifier',
  name: 'json-lines',
  meaning: 'append events to a file',
  options,
  async create({ file }) {
    return { notify: (event) => appendFile(file, `${JSON.stringify(event)}\n`) }
  },
}
