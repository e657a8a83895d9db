package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/breaker"
	"github.com/keybearer/keybearer/internal/records"
)

const (
	connectTimeout = 2 * time.Second         // to one host, its greeting included
	readTimeout    = 1500 * time.Millisecond // after which a database that does not answer counts as absent
	beginTimeout   = 3 * time.Second
	writeTimeout   = 10 * time.Second // of a whole transaction
	readers        = 8                // connections that read, at most
	idleTime       = time.Minute      // after which a connection that is not needed is closed
	lifeTime       = 30 * time.Minute // of a connection, so that one day each has moved to where the name leads
	probePause     = 250 * time.Millisecond
	defaultPoll    = 300 * time.Millisecond
)

// PostgresConfig says which database to open, and as whom.
type PostgresConfig struct {
	// DSN is a URL (postgres://…) or a list of key=value. It holds the password and is never shown.
	DSN keybearer.Secret
	// Renew returns the DSN again before each new connection, whose user and password are then its; nil: they stay as they are.
	Renew func() (keybearer.Secret, error)
	// Node names this process among those that share the database. It must stay the same over restarts, and no two processes may have
	// the same: audit events and the ledger's checkpoint belong to it.
	Node string
	// Version is that of the binary, for whoever looks at which nodes are connected; "": it is not told.
	Version string
	// Poll is how often the database is asked for changes when it announces none; 0 is 300 ms.
	Poll time.Duration
	// Wait is how long a server that cannot be reached is waited for when the store is opened; 0: not at all.
	Wait time.Duration
	// Logger is told when the feed of changes breaks and mends; nil: nobody is.
	Logger *slog.Logger
}

// Check returns the error of [OpenPostgres] for a configuration that cannot be right, without asking the server.
func (c PostgresConfig) Check() error {
	_, err := parseDSN(c.DSN.Reveal())
	return err
}

// Postgres is a Store in a PostgreSQL database that other processes use too: beside what [Store] does it is a
// [keybearer.Follower] and a [keybearer.Diagnoser].
type Postgres struct {
	*Store
	engine *postgresEngine
	feed   *feed
}

var (
	_ keybearer.Store     = (*Postgres)(nil)
	_ keybearer.Ledger    = (*Postgres)(nil)
	_ keybearer.Spender   = (*Postgres)(nil)
	_ keybearer.Follower  = (*Postgres)(nil)
	_ keybearer.Diagnoser = (*Postgres)(nil)
)

// OpenPostgres opens the database and makes its tables when they are not there. The context bounds the opening only. The
// Store is the caller's, to be closed. From then on it survives whatever becomes of the server: while that is away its methods return
// [keybearer.StoreUnavailable], reads at once, and when it is back they work again.
//
// Errors: [keybearer.Invalid] for a configuration that cannot be right; [keybearer.StoreUnavailable] for a server that cannot be
// reached or used, with the host and how to mend it, and for tables that a newer version made. None holds the DSN.
func OpenPostgres(ctx context.Context, c PostgresConfig) (*Postgres, error) {
	if c.Node == "" || strings.ContainsRune(c.Node, 0) {
		return nil, keybearer.NewError(keybearer.Invalid, "the node has no name").WithHint("give every process a name of its own that stays the same")
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	config, err := parseDSN(c.DSN.Reveal())
	if err != nil {
		return nil, err
	}
	if _, ok := config.RuntimeParams["application_name"]; !ok {
		config.RuntimeParams["application_name"] = nameOf(c.Node, c.Version)
	}
	e := newPostgresEngine(config, c.Renew)
	if err := e.await(ctx, c.Wait, c.Logger); err != nil {
		_ = e.close()
		return nil, err
	}
	p := &Postgres{Store: newStore(e, e, c.Node), engine: e}
	p.feed = &feed{db: e.listens, watch: &p.watch, poll: c.Poll, log: c.Logger, explain: e.explain}
	e.feed = p.feed
	if err := p.feed.start(ctx, e.writes); err != nil {
		_ = e.close()
		return nil, e.fail("open the store", err)
	}
	return p, nil
}

// Current returns the moment as of which the functions registered with Watch have been told of every commit. It is that of the last
// answer of the database, so it is some milliseconds to Poll old while all is well.
func (p *Postgres) Current() time.Time { return p.feed.Current() }

// Close ends the feed and releases the database. No other method may be called after it or while it runs; Close once more does
// nothing.
func (p *Postgres) Close() error {
	p.feed.stop()
	return p.Store.Close()
}

// postgresEngine is the engine of one PostgreSQL database.
type postgresEngine struct {
	config  *pgx.ConnConfig
	renewed func() (keybearer.Secret, error) // the DSN; nil: it stays
	// Three pools: writes and listens have one connection each.
	reads, writes, listens *sql.DB
	breaker                *breaker.Breaker
	feed                   *feed
}

func newPostgresEngine(config *pgx.ConnConfig, renewed func() (keybearer.Secret, error)) *postgresEngine {
	e := &postgresEngine{config: config, renewed: renewed, breaker: breaker.New(readers, probePause, away)}
	e.reads, e.writes, e.listens = e.connect(readers), e.connect(1), e.connect(1)
	return e
}

// connect returns a pool of at most n connections. It opens nothing yet.
func (e *postgresEngine) connect(n int) *sql.DB {
	db := stdlib.OpenDB(*e.config, stdlib.OptionBeforeConnect(e.login))
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(idleTime)
	db.SetConnMaxLifetime(lifeTime)
	return db
}

// login takes over a user and password that have changed.
func (e *postgresEngine) login(_ context.Context, config *pgx.ConnConfig) error {
	if e.renewed == nil {
		return nil
	}
	dsn, err := e.renewed()
	if err != nil {
		return err
	}
	now, err := parseDSN(dsn.Reveal())
	if err == nil {
		config.User, config.Password = now.User, now.Password
	}
	return err
}

// renew gives up the connections that nobody uses at the moment: they lead to a server that has been restarted or demoted.
func (e *postgresEngine) renew() {
	for db, n := range map[*sql.DB]int{e.reads: readers, e.writes: 1} {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(n)
	}
}

// guard is what every transaction begins with. No other node waits long for one that was cut off in the middle; and the change is on
// disk when it is acknowledged, whatever the server's default.
const guard = `SET LOCAL lock_timeout = '8s'; SET LOCAL statement_timeout = '9s'; SET LOCAL idle_in_transaction_session_timeout = '3s';
	SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`

var errStalled = errors.New("no answer in time")

// begin starts a transaction that is over within writeTimeout, one way or the other.
func (e *postgresEngine) begin(ctx context.Context) (*transaction, func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errStalled)
	t := &transaction{ctx: ctx, bind: bind}
	err := e.breaker.Do(ctx, func(context.Context) error {
		err := e.enter(t)
		if lost(err) { // nothing has happened yet
			e.renew()
			err = e.enter(t)
		}
		return err
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return t, cancel, nil
}

// enter begins within beginTimeout; the transaction itself may take longer.
func (e *postgresEngine) enter(t *transaction) (err error) {
	ctx, cancel := context.WithCancelCause(t.ctx) // ends the transaction, too
	late := time.AfterFunc(beginTimeout, func() { cancel(errStalled) })
	if t.tx, err = e.writes.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}); err == nil {
		_, err = t.tx.ExecContext(ctx, guard)
	}
	if !late.Stop() && err == nil {
		err = errStalled
	}
	if err != nil {
		err = stalled(ctx, err)
		cancel(nil)
	}
	return err
}

func (e *postgresEngine) repeat(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01":
		return true
	case "25006": // it may have been demoted: look for the primary anew
		e.renew()
	}
	return false
}

// announce wakes every node, this one included, when the transaction commits.
func (e *postgresEngine) announce(t *transaction) error {
	return t.exec(`SELECT pg_notify('` + channel + `', '')`)
}

func (e *postgresEngine) tell(ctx context.Context, _ *records.Watchers, t *transaction) {
	e.feed.committed(ctx, e.writes, t)
}

func (e *postgresEngine) contains(column string) string { return "strpos(" + column + ", ?) > 0" }

func (e *postgresEngine) listing() string { return "listings" }

func (e *postgresEngine) settle(context.Context, bool) bool { return true }

func (e *postgresEngine) close() error {
	err := errors.Join(e.reads.Close(), e.writes.Close(), e.listens.Close())
	if err != nil {
		return e.fail("close the store", err)
	}
	return nil
}

// bind numbers the marks of parameters. No text of ours holds a question mark that is none.
func bind(text string) string {
	if !strings.Contains(text, "?") {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	for n := 1; ; n++ {
		before, after, found := strings.Cut(text, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		text = after
	}
}
