import { renewalInfo } from './renewal-info.ts'
import { testScenarios } from './scenario.ts'

testScenarios(renewalInfo)
