import { clockFaults } from './clock.ts'
import { testScenarios } from './scenario.ts'

testScenarios(clockFaults)
