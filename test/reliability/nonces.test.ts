import { nonces } from './nonces.ts'
import { testScenarios } from './scenario.ts'

testScenarios(nonces)
