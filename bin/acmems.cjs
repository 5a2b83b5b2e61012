#!/usr/bin/env node
// Starts acmems on whatever Node.js there is. Written for old ones too (12 and up): what is newer would not be parsed.
// biome-ignore-all lint/style/useNodejsImportProtocol: require('node:fs') is too new as well
'use strict'

const { spawn } = require('child_process')
const fs = require('fs')
const path = require('path')
const { pathToFileURL } = require('url')

const neededMajor = 24
const isInstaller = require.main && path.basename(require.main.filename) === 'acmems-install.cjs'
const program = path.join(__dirname, '..', 'dist', isInstaller ? 'acmems-install.js' : 'acmems.js')

function fail(reason) {
  process.stderr.write(`acmems: ${reason}\n`)
  process.exit(1)
}

/** Announcements of Node.js about its own parts (node:sqlite before 24.15, execve): nothing that an operator can act on. */
function silenceExperimentalWarnings() {
  const emitWarning = process.emitWarning
  process.emitWarning = (warning, type, ...rest) => {
    const kind = type && typeof type === 'object' ? type.type : type
    if (kind !== 'ExperimentalWarning') emitWarning.call(process, warning, type, ...rest)
  }
}

function findNode() {
  const name = `node-${process.platform}-${process.arch}`
  const wanted = `Node.js ${neededMajor} or newer is needed, this is ${process.versions.node}`
  let folder
  try {
    folder = path.dirname(require.resolve(`${name}/package.json`, { paths: [__dirname] }))
  } catch (_error) {
    fail(
      `${wanted}, and the optional package ${name} is not installed: npm was told to leave such packages out, or there ` +
        `is none for this kind of machine. Install Node.js ${neededMajor}, or install acmems again with --include=optional`,
    )
  }
  const node = path.join(folder, 'bin', 'node')
  try {
    fs.accessSync(node, fs.constants.X_OK)
  } catch (error) {
    fail(`${wanted}, and the one in ${folder} cannot be started: ${error.message}`)
  }
  return node
}

/** Does a terminal tell its whole foreground group, so that the child has heard it already? */
function isToldByTerminal() {
  try {
    // pid (name) state ppid pgrp session tty_nr tpgid
    const stat = fs.readFileSync('/proc/self/stat', 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[2] === fields[5]
  } catch (_error) {
    return false
  }
}

/** A child that is this process as far as that can be told from outside. */
function runAsChild(node, args) {
  // Sockets that systemd opened are for the process that LISTEN_PID names (sd_listen_fds(3)): that is the child now.
  const ours = process.env.LISTEN_PID === String(process.pid) ? Number(process.env.LISTEN_FDS) || 0 : 0
  const stdio = Array.from({ length: 3 + ours }, (_, fd) => fd)
  const child =
    ours === 0
      ? spawn(node, args, { stdio: 'inherit' })
      : spawn('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', node].concat(args), { stdio })
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP']
  signals.forEach((signal) => {
    process.on(signal, () => {
      // Told twice, the server would not wait for what is in flight.
      if (signal !== 'SIGINT' || !isToldByTerminal()) child.kill(signal)
    })
  })
  child.on('error', (error) => fail(`${node} cannot be started: ${error.message} (it needs glibc 2.28 or newer)`))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    signals.forEach((name) => {
      process.removeAllListeners(name)
    })
    process.kill(process.pid, signal)
  })
}

function start() {
  if (!fs.existsSync(program)) fail(`${program} is missing. In a checkout, use ./acmems or make it: npm run build`)
  silenceExperimentalWarnings()
  if (Number(process.versions.node.split('.')[0]) >= neededMajor) {
    import(pathToFileURL(program).href).catch((error) => fail(error.stack))
    return
  }
  const node = findNode()
  const args = ['--disable-warning=ExperimentalWarning', program].concat(process.argv.slice(2))
  if (process.execve) process.execve(node, [node].concat(args))
  else runAsChild(node, args)
}

start()
