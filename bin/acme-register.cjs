#!/usr/bin/env node
// The name that acmems gave to `acmems register`.
'use strict'

process.argv.splice(2, 0, 'acme-register')
require('./acmems.cjs')
