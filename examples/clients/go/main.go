// A player in Go: joins, flies for 200 ticks with a copy of the world, loses its stream in the middle and comes back.
//
//	go run . -url http://127.0.0.1:7777 [-ca ca.pem] [-ticks 200]
//
// What it prints is one line of JSON; it fails if the copy ever differs from the server's world, or a move was lost.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	mathrand "math/rand/v2"
	"net/url"
	"time"

	frayv1 "fray.example/client/gen/fray/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const resumesMax = 20

var errCut = errors.New("cut off on purpose")

type seen struct {
	Updates      int  `json:"updates"`
	Checksums    int  `json:"checksums"`
	Desyncs      int  `json:"desyncs"`
	Moves        int  `json:"moves"`
	Resumed      int  `json:"resumed"`
	AsSamePlayer bool `json:"as_same_player"`
}

// player is a session over as many streams as it takes.
type player struct {
	lobby               frayv1.LobbyClient
	play                frayv1.PlayClient
	ticks               uint32
	seen                seen
	welcome             *frayv1.Welcome
	replica             *replica
	firstTick, lastTick uint32
	hasLeft             bool
	// The ticket for the server that the room moved to.
	redirect string
	// What was sent, and the hash after each.
	sent         []*frayv1.Move
	hashes       []uint32
	acknowledged uint32
}

// join gives a ticket: for a seat, or to go on with the session.
func (p *player) join() (string, error) {
	var id [16]byte
	_, _ = rand.Read(id[:])
	request := &frayv1.JoinRequest{RequestId: hex.EncodeToString(id[:]), PlayerName: "Go", ResumeToken: p.welcome.GetResumeToken()}
	var err error
	for attempt := range 8 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var seat *frayv1.JoinResponse
		seat, err = p.lobby.Join(ctx, request)
		cancel()
		if err == nil {
			return seat.Ticket, nil
		}
		// The same request again is the same wish: it does not take two seats.
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
			break
		}
		pause(min(2*time.Second, 200*time.Millisecond<<attempt))
	}
	return "", err
}

func pause(longest time.Duration) {
	time.Sleep(50*time.Millisecond + mathrand.N(longest))
}

func (p *player) run() error {
	ticket, err := p.join()
	for resumes := 0; err == nil; {
		p.redirect = ""
		ended := p.stream(ticket)
		switch {
		case ended == nil:
			if lost := len(p.sent) - int(p.acknowledged); lost > 0 {
				return fmt.Errorf("%d moves were lost", lost)
			}
			return nil
		case errors.Is(ended, errCut):
			// The same ticket is still good.
			continue
		}
		resumes++
		// Only what gRPC says is worth another stream.
		if _, isStatus := status.FromError(ended); !isStatus || resumes > resumesMax {
			return ended
		}
		log.Print("the stream ended: ", ended)
		// A room that moved is somewhere else already: there at once. Else nobody is in a hurry.
		switch {
		case p.redirect != "":
			ticket = p.redirect
			continue
		case !hasMoved(ended):
			pause(500 * time.Millisecond)
		}
		ticket, err = p.join()
	}
	return err
}

// hasMoved says whether the stream's room is on another server now.
func hasMoved(ended error) bool {
	for _, detail := range status.Convert(ended).Details() {
		if info, isInfo := detail.(*errdetails.ErrorInfo); isInfo && info.Reason == "ROOM_MOVED" {
			return true
		}
	}
	return false
}

// stream plays one stream. Nil: the player left, and the server said so.
func (p *player) stream(ticket string) error {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+ticket))
	defer cancel()
	stream, err := p.play.Play(ctx)
	if err != nil {
		return err
	}
	hello := &frayv1.Hello{ProtocolVersion: 1, Ticket: ticket, ResumeToken: p.welcome.GetResumeToken()}
	// What cannot be sent shows in what is received.
	send(stream, &frayv1.PlayRequest{Message: &frayv1.PlayRequest_Hello{Hello: hello}})
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if welcome := response.GetWelcome(); welcome != nil {
			if err := p.welcomed(welcome, stream); err != nil {
				return err
			}
		}
		if redirect := response.GetRedirect(); redirect != nil {
			p.redirect = redirect.Ticket
		}
		if update := response.GetUpdate(); update != nil {
			if err := p.updated(update, stream); err != nil {
				return err
			}
			played := p.lastTick - p.firstTick
			if played > p.ticks/2 && p.seen.Resumed == 0 {
				return errCut
			}
			if played >= p.ticks && !p.hasLeft {
				// A graceful leave: the last update acknowledges every move.
				p.hasLeft = true
				send(stream, &frayv1.PlayRequest{Message: &frayv1.PlayRequest_Leave{Leave: &frayv1.Leave{}}})
				_ = stream.CloseSend()
			}
		}
	}
}

type requests interface {
	Send(*frayv1.PlayRequest) error
}

func send(stream requests, request *frayv1.PlayRequest) { _ = stream.Send(request) }

func sendMove(stream requests, move *frayv1.Move) {
	send(stream, &frayv1.PlayRequest{Message: &frayv1.PlayRequest_Move{Move: move}})
}

func (p *player) welcomed(welcome *frayv1.Welcome, stream requests) error {
	if p.welcome != nil && welcome.Resumed {
		p.seen.Resumed++
		p.seen.AsSamePlayer = welcome.PlayerId == p.welcome.PlayerId && welcome.Entity == p.welcome.Entity
	}
	p.welcome, p.hasLeft, p.acknowledged = welcome, false, welcome.LastAppliedSequence
	p.replica = newReplica(welcome.World, welcome.Motions)
	if welcome.RestoredAgeMs != nil {
		// The room was restored from what had been recorded: moves past that are gone, and their numbers are free.
		p.sent = p.sent[:min(len(p.sent), int(p.acknowledged))]
		p.hashes = p.hashes[:len(p.sent)+1]
		if int(welcome.AppliedCount) != len(p.sent) || welcome.AppliedHash != p.hashes[len(p.sent)] {
			return errors.New("the room was restored with other moves than those sent")
		}
	}
	for _, move := range p.sent[p.acknowledged:] {
		sendMove(stream, move)
	}
	return nil
}

func (p *player) updated(update *frayv1.Update, stream requests) error {
	p.seen.Updates++
	if p.replica.tick == 0 && (update.BaseTick == nil || *update.BaseTick != 0) {
		return nil // Keyframes were asked for: nothing else is of use.
	}
	if ack := update.MoveAck; ack != nil {
		// The server applied exactly the moves that were sent, each once and in order.
		p.acknowledged = ack.InputAck
		if ack.AppliedCount != ack.InputAck || ack.AppliedHash != p.hashes[ack.InputAck] {
			return errors.New("other moves were applied than those sent")
		}
	}
	before := p.replica.checksums
	err := p.replica.apply(update)
	p.seen.Checksums += p.replica.checksums - before
	var why refused
	if errors.As(err, &why) {
		if why.isDesync {
			p.seen.Desyncs++
		}
		log.Printf("tick %d: %v", update.Tick, why)
		send(stream, &frayv1.PlayRequest{Message: &frayv1.PlayRequest_Resync{Resync: &frayv1.Resync{Tick: update.Tick}}})
		return nil
	}
	if p.firstTick == 0 {
		p.firstTick = update.Tick
	}
	if update.Tick < p.lastTick {
		// A room that was restored plays some ticks once more.
		p.firstTick -= p.lastTick - update.Tick
	}
	p.lastTick = update.Tick
	switch {
	case p.hasLeft:
	// A move every tenth tick; in between the acknowledgement that is due every quarter of the window.
	case update.Tick%10 == 0 && len(p.sent)-int(p.acknowledged) < 64:
		p.move(update.Tick, stream)
	case update.Tick%2 == 0:
		send(stream, &frayv1.PlayRequest{Message: &frayv1.PlayRequest_Ping{Ping: &frayv1.Ping{SeenTick: update.Tick}}})
	}
	return nil
}

func (p *player) move(tick uint32, stream requests) {
	sequence := uint32(len(p.sent) + 1)
	move := &frayv1.Move{Sequence: sequence, SeenTick: tick, AxisX: int32(mathrand.IntN(255)) - 127, AxisY: 100}
	if sequence%3 == 0 {
		move.Buttons = 1
	}
	p.hashes = append(p.hashes, appliedHash(p.hashes[len(p.hashes)-1], move))
	p.sent = append(p.sent, move)
	p.seen.Moves++
	sendMove(stream, move)
}

func connect(address, ca string) (*grpc.ClientConn, error) {
	server, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	how := insecure.NewCredentials()
	if server.Scheme == "https" && ca != "" {
		if how, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, err
		}
	} else if server.Scheme == "https" {
		how = credentials.NewTLS(nil)
	}
	return grpc.NewClient(server.Host, grpc.WithTransportCredentials(how))
}

func main() {
	address := flag.String("url", "http://127.0.0.1:7777", "where the server is")
	ca := flag.String("ca", "", "a file with the authority's certificate, for https")
	ticks := flag.Uint("ticks", 200, "how long to play")
	flag.Parse()
	connection, err := connect(*address, *ca)
	if err != nil {
		log.Fatal(err)
	}
	p := &player{
		lobby:  frayv1.NewLobbyClient(connection),
		play:   frayv1.NewPlayClient(connection),
		ticks:  uint32(*ticks),
		hashes: []uint32{0},
	}
	if err := p.run(); err != nil {
		log.Fatal(err)
	}
	line, _ := json.Marshal(p.seen)
	fmt.Println(string(line))
	if p.seen.Desyncs > 0 || !p.seen.AsSamePlayer || p.seen.Checksums == 0 {
		log.Fatal("it did not go as it should")
	}
}
