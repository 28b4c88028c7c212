// Package cli is the command line: one file per command. It reads flags, environment and files, and nothing below it does.
//
// The grammar is `concordat NOUN VERB`, with a few single words for what is done every day. Results go to standard output, in the format that
// --output names; everything else goes to standard error. The exit status is 0 on success, 1 on failure, 2 on wrong usage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// Exit statuses.
const (
	statusOK      = 0
	statusFailure = 1
	statusUsage   = 2
)

// Streams is where a command writes, and asks. The first two may be the same.
type Streams struct {
	Out io.Writer // results
	Err io.Writer // diagnostics, progress, logs, questions
	In  io.Reader // answers to questions; nil: nobody is there to ask
}

// Run runs the command that args name (args[0] is the program) until it is done or ctx is, and returns the exit status.
func Run(ctx context.Context, args []string, s Streams, version string) int {
	app := newApp(s, version)
	err := app.RunContext(ctx, args)
	var usage *usageError
	var exit ucli.ExitCoder
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &usage):
		fmt.Fprintf(s.Err, "concordat: %v\n", err)
		if usage.help != "" {
			fmt.Fprintf(s.Err, "See %q.\n", usage.help)
		}
		return statusUsage
	case errors.As(err, &exit): // the library's own: help for something that does not exist
		fmt.Fprintf(s.Err, "concordat: %v\n", err)
		return statusUsage
	default:
		fmt.Fprintf(s.Err, "concordat: %v\n", err)
		return statusFailure
	}
}

// usageError says that a command was called wrongly: exit status 2.
type usageError struct {
	message string
	help    string // the command that explains; may be empty
}

func (e *usageError) Error() string { return e.message }

// wrongUsage returns a usage error for the command that runs.
func wrongUsage(c *ucli.Context, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), help: commandPath(c) + " --help"}
}

// commandPath returns the words that led to the command that runs.
func commandPath(c *ucli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return "concordat"
}

func newApp(s Streams, version string) *ucli.App {
	app := &ucli.App{
		Name:        "concordat",
		HelpName:    "concordat",
		Usage:       "global tables under your own jurisdiction",
		Description: "Every region runs its own cluster; applications speak the DynamoDB API to the nearest one.\nStart with `concordat demo`, then `concordat dev`.",
		HideVersion: true, // a command of its own, with a format
		Writer:      s.Out,
		ErrWriter:   s.Err,
		Flags:       programFlags(),
		Commands: []*ucli.Command{
			demoCommand(s),
			devCommand(s, version),
			nodeCommand(s, version),
			statusCommand(s),
			verifyCommand(s),
			repairCommand(s),
			tableCommand(s),
			policyCommand(s),
			triggerCommand(s),
			conflictCommand(s),
			streamCommand(s),
			auditCommand(s),
			regionCommand(s),
			natsCommand(s),
			benchCommand(s),
			versionCommand(s, version),
		},
		// Errors are returned and told once, by Run.
		ExitErrHandler: func(*ucli.Context, error) {},
	}
	app.OnUsageError = flagError
	app.Action = func(c *ucli.Context) error {
		if c.NArg() > 0 {
			return unknownCommand(c, app.Commands)
		}
		return ucli.ShowAppHelp(c)
	}
	for _, cmd := range app.Commands {
		finish(cmd)
	}
	return app
}

// finish gives a command and those below it what all have: common flags, the handling of wrong usage, and no arguments
// that would be ignored.
func finish(cmd *ucli.Command) {
	cmd.OnUsageError = flagError
	cmd.HideHelpCommand = true
	if len(cmd.Subcommands) > 0 {
		for _, sub := range cmd.Subcommands {
			finish(sub)
		}
		cmd.Action = func(c *ucli.Context) error {
			if c.NArg() > 0 {
				return unknownCommand(c, cmd.Subcommands)
			}
			return wrongUsage(c, "after %q one of these must follow: %s", cmd.Name, strings.Join(names(cmd.Subcommands), ", "))
		}
		return
	}
	cmd.Flags = append(cmd.Flags, commonFlags()...)
	action := cmd.Action
	cmd.Action = func(c *ucli.Context) error {
		if err := arguments(c); err != nil {
			return err
		}
		if c.Bool("help") { // after a word, where the library does not see it
			return ucli.ShowSubcommandHelp(c)
		}
		if _, err := formatOf(c); err != nil {
			return err
		}
		return action(c)
	}
}

// arguments checks what is not a flag: nothing, or the words that the command's ArgsUsage names.
func arguments(c *ucli.Context) error {
	usage := c.Command.ArgsUsage
	if usage == "" {
		if c.NArg() > 0 {
			return wrongUsage(c, "%s takes flags only, not %q", c.Command.Name, c.Args().First())
		}
		return nil
	}
	got, err := words(c)
	if err != nil {
		return err
	}
	if strings.HasPrefix(usage, "[") { // a word that may be missing: the command knows when
		if len(got) > 1 {
			return wrongUsage(c, "%s takes one %s, not also %q", c.Command.Name, strings.Trim(usage, "[]"), got[1])
		}
		return nil
	}
	switch want := len(strings.Fields(usage)); {
	case len(got) < want && want == 1:
		return wrongUsage(c, "%s needs a %s", c.Command.Name, usage)
	case len(got) < want:
		return wrongUsage(c, "%s needs %s", c.Command.Name, usage)
	case len(got) > want && want == 1:
		return wrongUsage(c, "%s takes one %s, not also %q", c.Command.Name, usage, got[1])
	case len(got) > want && !strings.HasSuffix(usage, "..."):
		return wrongUsage(c, "%s takes %s, not also %q", c.Command.Name, usage, got[want])
	}
	return nil
}

// words returns what was given beside flags. Flags may stand between and after words, where the library stops to read them: they are set here.
func words(c *ucli.Context) (out []string, err error) {
	rest := c.Args().Slice()
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		name, value, has := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !strings.HasPrefix(word, "-") || name == "" {
			out = append(out, word)
			continue
		}
		i := slices.IndexFunc(c.Command.Flags, func(f ucli.Flag) bool { return slices.Contains(f.Names(), name) })
		if i < 0 {
			return nil, flagError(c, errors.New(unknownFlag+name), true)
		}
		_, isBool := c.Command.Flags[i].(*ucli.BoolFlag)
		switch {
		case has:
		case isBool:
			value = "true"
		case len(rest) == 0:
			return nil, wrongUsage(c, "flag needs an argument: --%s", name)
		default:
			value, rest = rest[0], rest[1:]
		}
		if err := c.Set(name, value); err != nil {
			return nil, wrongUsage(c, "invalid value %q for --%s", value, name)
		}
	}
	return out, nil
}

func names(cmds []*ucli.Command) []string {
	out := make([]string, 0, len(cmds))
	for _, cmd := range cmds {
		out = append(out, cmd.Name)
	}
	return out
}

// unknownCommand names the nearest of those that exist.
func unknownCommand(c *ucli.Context, known []*ucli.Command) error {
	word := c.Args().First()
	if near := nearest(word, names(known)); near != "" {
		return wrongUsage(c, "there is no command %q here; did you mean %q?", word, near)
	}
	return wrongUsage(c, "there is no command %q here", word)
}

// unknownFlag is how the library says that there is no such flag.
const unknownFlag = "flag provided but not defined: -"

// flagError turns the library's error about flags into wrong usage, with the nearest flag where one is unknown.
func flagError(c *ucli.Context, err error, _ bool) error {
	name, isUnknown := strings.CutPrefix(err.Error(), unknownFlag)
	if !isUnknown {
		return wrongUsage(c, "%v", err)
	}
	name = strings.TrimLeft(name, "-")
	flags := c.App.Flags
	if c.Command != nil && len(c.Command.Flags) > 0 {
		flags = c.Command.Flags
	}
	var known []string
	for _, f := range flags {
		known = append(known, f.Names()[0])
	}
	if near := nearest(name, known); near != "" {
		return wrongUsage(c, "there is no flag --%s; did you mean --%s?", name, near)
	}
	return wrongUsage(c, "there is no flag --%s", name)
}

// nearest returns the candidate that word was most likely meant to be; "" if none comes near. (The library's suggestions always find one.)
func nearest(word string, candidates []string) string {
	best, found := 0.8, ""
	for _, candidate := range candidates {
		if score := smetrics.JaroWinkler(word, candidate, 0.7, 4); score > best {
			best, found = score, candidate
		}
	}
	return found
}

// required reports every flag of names that was not given, in one error. (The library's own check prints the help to standard output.)
func required(c *ucli.Context, names ...string) error {
	var missing []string
	for _, name := range names {
		if !c.IsSet(name) {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return wrongUsage(c, "%s needs %s", c.Command.Name, strings.Join(missing, ", "))
	}
	return nil
}

// Common flags. They are taken before and after the command's words; the nearest one counts.
const (
	flagAdmin  = "admin"
	flagOutput = "output"
)

// commonFlags returns the common flags for a command. Only those of the program itself look at the environment, so that a flag that was
// given anywhere goes before it.
func commonFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: flagAdmin, Usage: "`URL` of the admin API to ask [$CONCORDAT_ADMIN]", DefaultText: defaultAdmin, Category: "Common:"},
		&ucli.StringFlag{Name: flagOutput, Usage: "`FORMAT` of the result: table, json or yaml", DefaultText: string(formatTable), Category: "Common:"},
	}
}

func programFlags() []ucli.Flag {
	flags := commonFlags()
	for _, f := range flags {
		switch f := f.(*ucli.StringFlag); f.Name {
		case flagAdmin:
			f.Value, f.EnvVars, f.Usage = defaultAdmin, []string{"CONCORDAT_ADMIN"}, "`URL` of the admin API to ask"
		case flagOutput:
			f.Value = string(formatTable)
		}
	}
	return flags
}

const defaultAdmin = "http://127.0.0.1:8080"

// common returns the value of a common flag: the one given nearest to the command's end, else the environment's or the default.
func common(c *ucli.Context, name string) string {
	levels := c.Lineage()
	for _, level := range levels {
		if level.Command != nil && slices.Contains(level.LocalFlagNames(), name) {
			return level.String(name)
		}
	}
	// The root of the lineage is a bare context; the program's own is before it.
	for _, level := range slices.Backward(levels) {
		if v := level.String(name); v != "" {
			return v
		}
	}
	return ""
}

// readFile reads a file that a flag or a configuration names, up to limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b, nil
}
