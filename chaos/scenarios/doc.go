// Package scenarios tells, as stories that are tests, the scenarios for which PROTOCOL.md's rules exist: for each rule the one in which a simpler rule fails. What plays them is the simulation's
// regions (chaos/sim), the real code of everything that decides.
package scenarios
