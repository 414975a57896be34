// Programs in which sockets and peers speak TLS: what they do, and what may come of it.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/tls_names.h"
#include "player.h"
#include "warren/tls_facts.h"

namespace warren::swarm {

namespace {

// A peer that cuts its records says a piece each turn, while time stands still: beyond so many pieces
// they grow.
constexpr size_t kPieces = 5000;

}  // namespace

// --- turning to TLS --------------------------------------------------------------------------------

// STARTTLS: when both ends have said all that they want to say in the open, or at any other moment.
void Player::upgrade(User& user, uint32_t choice) {
  if ((tls_ & 2) == 0) return;
  const auto policy = static_cast<Leftover>(choice % 3);
  Result<void> done;
  switch (choice / 3 % 8) {
    case 0: {
      const Cork guard = user.socket.cork();
      took(user, user.socket.write(payload(user, 10)), 10, true);
      done = tryUpgrade(user, {}, policy);
      break;
    }
    case 1: {  // what `data` was given is not given to it again
      const std::string heard = user.heard;
      done = tryUpgrade(user, asBytes(heard), policy);
      break;
    }
    case 2:  // what somebody has put there
      done = tryUpgrade(user, asBytes(Far::record(22, "no ClientHello")), policy);
      break;
    case 3:
      done = tryUpgrade(user, {}, policy);
      break;
    default: {
      const End* other = otherOf(user);
      if (other == nullptr || other->sent != user.received) return;
      done = tryUpgrade(user, asBytes(user.early), Leftover::feed);
    }
  }
  if (done && user.live() && choice / 24 % 4 != 0) follow(user);
}

Result<void> Player::tryUpgrade(User& user, Bytes leftover, Leftover policy) {
  const bool possible = !user.sealed && user.opened && !user.finished && !user.endTold;
  const bool refuses = policy == Leftover::fail && !leftover.empty();
  const std::string fed(policy == Leftover::feed ? asText(leftover) : "");
  const TlsManner manner{.old = user.key % 5 == 0, .tolerant = user.group->manner.tolerant};
  const TlsOptions options = user.accepted ? serverTls(manner) : clientTls(manner);
  const Result<void> done = user.socket.upgradeTls(options, leftover, policy);
  if (!done) {
    checkRefusal(user, done.error(), refuses);
    return done;
  }
  expect(!refuses && possible, user, "an upgrade was taken that makes no sense");
  if (!user.live()) return done;  // no memory for `leftover`: `close` has told
  expect(user.socket.unsentBytes() == 0, user, "an upgrade was taken before what is queued");
  user.sealed = true;
  user.sealedAt = now();
  user.plainSent = user.sent;
  // What was dropped is plaintext to it; what `data` was given of the other's TLS before is not.
  user.plainTaken = user.muted ? user.socket.bytesRead() - user.early.size() : user.received;
  user.garbled = fed != user.early;
  user.early.clear();
  return done;
}

void Player::checkRefusal(const User& user, const Error& error, bool leftover) {
  const bool queued = user.socket.unsentBytes() > 0;
  const bool over = !user.live() || !user.opened || user.finished || user.endTold || user.muted;
  const bool reason = (error.is(Usage::conflict) && (user.sealed || leftover || queued)) ||
                      (error.is(Usage::closed) && (over || shaky(user))) ||
                      (error.isErrno(ENOMEM) && noMemory());
  expect(reason, user, "an upgrade was refused for no reason: " + error.message());
}

// Whoever is at the other end turns to TLS as well.
void Player::follow(const User& user) {
  End* other = otherOf(user);
  if (other == nullptr || other->sealed) return;
  if (other->user == nullptr) {
    if (peerOf(*other).gone || other->finished) return;
    return seal(peerOf(*other), user.accepted ? Far::Role::client : Far::Role::server);
  }
  if (other->user->live() && other->received == user.plainSent) {
    static_cast<void>(tryUpgrade(*other->user, asBytes(other->early), Leftover::feed));
  }
}

void Player::seal(PeerEnd& peer, Far::Role role) {
  peer.sealed = true;
  peer.plainSent = peer.sent;
  peer.far = std::make_unique<Far>(role);
  sealedPeers_.push_back(&peer);
  const std::string early = std::exchange(peer.early, {});
  if (role == Far::Role::client && early.empty()) static_cast<void>(peer.far->feed({}));
  peer.wire += peer.far->take();
  if (!early.empty()) readSealed(peer, early);
  push(peer);
}

// --- what peers do ---------------------------------------------------------------------------------

// False when a peer without TLS does the same.
bool Player::doSealedPeer(const Operation& operation, PeerEnd& peer) {
  const End* other = otherOf(peer);
  if (!peer.sealed && operation.verb == Verb::peerUpgrade && (tls_ & 2) != 0) {
    if (peer.finished || other == nullptr || other->user == nullptr) return true;
    seal(peer, other->user->accepted ? Far::Role::client : Far::Role::server);
    return true;
  }
  if (!peer.sealed) return false;
  switch (operation.verb) {
    case Verb::peerSend:
      sendSealed(peer, operation.amount);
      break;
    case Verb::peerEnd:
      endSealed(peer, operation.amount % 4 != 0);
      break;
    case Verb::peerReset:
    case Verb::peerClose:
      leaveSealed(peer, operation.verb == Verb::peerReset, operation.amount % 2 != 0);
      break;
    case Verb::peerNotify:
      if (peer.far->maySpeak() && !peer.cut) notify(peer);
      break;
    case Verb::peerRekey:
      if (peer.far->maySpeak()) peer.far->rekey(operation.amount % 2 != 0);
      break;
    case Verb::peerMeddle:
      meddle(peer, operation.amount);
      break;
    case Verb::peerCut:
      peer.grain = operation.amount % 300;
      peer.slow = true;
      break;
    case Verb::peerHush:
      peer.hushed = !peer.hushed;
      peer.slow = true;
      break;
    default:
      return false;
  }
  collect(peer);
  push(peer);
  return true;
}

// What its TLS has said goes behind what waits.
void Player::collect(PeerEnd& peer) {
  std::string said = peer.far->take();
  if (said.empty() || peer.kernel->writeShut) return;  // behind the FIN is nothing
  peer.wire += said;
  peer.last = std::move(said);
}

void Player::notify(PeerEnd& peer) {
  peer.far->notify();
  collect(peer);
  peer.goodbye = peer.wire.size();
  peer.finished = true;
}

void Player::sendSealed(PeerEnd& peer, size_t size) {
  if (!peer.far->maySpeak() || peer.cut) return;
  peer.far->send(payload(peer, size));
  peer.sent += size;
}

// Says something that its TLS has not sealed, or only to break off.
void Player::meddle(PeerEnd& peer, uint32_t choice) {
  if (peer.cut || peer.finOwed || peer.kernel->writeShut) return;
  const uint32_t kind = choice % 8;
  const bool first = !peer.meddled && peer.far->maySpeak();
  const std::string junk(payload(peer, 1 + choice / 8 % 600));
  if (kind == 0) peer.wire += junk;
  if (kind == 1) peer.wire += Far::record(23, junk);
  if (kind == 2) peer.far->alert();
  if (kind == 3) peer.wire += Far::record(21, {"\1\0", 2});      // close_notify, in the open
  if (kind == 4) peer.wire += peer.last;                         // again
  if (kind == 5) peer.wire += "\x17\3\3";                        // half a header
  if (kind == 6) peer.wire += Far::record(22, {"\0\0\0\0", 4});  // HelloRequest
  if (kind == 7) peer.wire += "\x17\3\3\xff\xff" + junk;         // too long for a record
  peer.meddled = true;
  if (!first) return;
  peer.forgedAt = peer.sent;
  peer.noticed = kind != 0 && kind != 5;
}

// A FIN behind all that was said and close_notify; or in the middle of it.
void Player::endSealed(PeerEnd& peer, bool proper) {
  if (peer.cut) return;
  if (proper && peer.far->maySpeak()) notify(peer);
  if (proper && peer.far->notified()) {
    peer.finOwed = true;
    return push(peer);
  }
  breakOff(peer);
  peer.peer.shutdownWrite();
}

void Player::leaveSealed(PeerEnd& peer, bool reset, bool proper) {
  if (proper && peer.far->maySpeak() && !peer.cut) notify(peer);
  push(peer);
  breakOff(peer);
  peer.gone = true;
  reset ? peer.peer.reset() : peer.peer.close();
}

// What its TLS has said and the network has not taken is never said. Nobody misses what was behind
// close_notify.
void Player::breakOff(PeerEnd& peer) {
  const bool whole = peer.finished ? peer.goodbye == 0 : peer.wire.empty();
  if (whole && !peer.meddled && !peer.cut) peer.wholeUntil = peer.sent;
  peer.finished = peer.finished && whole && !peer.cut;
  peer.cut = !peer.finished;
  peer.finOwed = false;
  peer.wire.clear();
}

// Handshakes go on by themselves, and what was said reaches the network as it takes it.
void Player::pump() {
  for (PeerEnd* peer : sealedPeers_) {
    if (peer->gone || (peer->hushed && !over_)) continue;
    if (!peer->far->ready()) readPeer(*peer, SIZE_MAX);
    push(*peer);
  }
}

void Player::push(PeerEnd& peer) {
  if (peer.hushed && !over_) return;
  if (peer.cut || peer.gone) return peer.wire.clear();
  const bool whole = peer.grain == 0 || calm_;
  const size_t piece = std::max<size_t>(peer.grain, peer.wire.size() / kPieces);
  const size_t most = whole ? peer.wire.size() : std::min(piece, peer.wire.size());
  if (most > 0) {
    const size_t went = peer.peer.send(std::string_view(peer.wire).substr(0, most));
    peer.wire.erase(0, went);
    peer.goodbye -= std::min(peer.goodbye, went);
  }
  if (peer.wire.empty() && std::exchange(peer.finOwed, false)) peer.peer.shutdownWrite();
}

void Player::readSealed(PeerEnd& peer, std::string_view text) {
  const End* other = otherOf(peer);
  uint64_t open = 0;  // how much of what the other sends is not sealed
  if (other != nullptr) open = other->sealed ? other->plainSent : UINT64_MAX;
  const size_t plain =
      static_cast<size_t>(std::min<uint64_t>(text.size(), open - std::min(open, peer.received)));
  if (plain > 0) receive(peer, asBytes(text.substr(0, plain)));
  text.remove_prefix(plain);
  if (text.empty()) return;
  const bool failed = peer.far->failed();
  const std::string opened = peer.far->feed(text);
  if (!opened.empty()) receive(peer, asBytes(opened));
  collect(peer);
  if (!peer.far->failed() || failed) return;
  expect(brokeTls(peer),
         "TLS makes no sense to peer " + std::to_string(peer.key) + ": " + peer.far->error());
  peer.meddled = true;
}

// --- what users are told ---------------------------------------------------------------------------

void Player::onHandshake(User& user, bool done, const Error& error) {
  expect(user.sealed, user, "a handshake was told that nobody has begun");
  expect(!user.agreed && !user.unagreed, user, "a handshake was told twice");
  if (done) {
    return agree(user);
  }
  const bool late = error.isErrno(ETIMEDOUT);
  const bool reason = late ? mayTimeOut(user.kernel, user.sealedAt) : shaky(user);
  expect(error && reason, user, "a handshake failed for no reason: " + error.message());
  user.unagreed = true;
}

// Without a `handshake` handler it is the facts that tell.
void Player::refresh(User& user) {
  if (!shaking(user) || !user.opened || user.group->listens) return;
  if (user.socket.tls().version() == TlsVersion::unknown) return;
  agree(user);
}

// Somebody may have put something between, and that alone was discarded.
void Player::agree(User& user) {
  user.agreed = true;
  const End* other = otherOf(user);
  const bool meddled = other != nullptr && other->user == nullptr && peerOf(*other).meddled;
  expect(!muddled(user) || meddled, user, "TLS was agreed on with somebody who spoke none");
}

// --- what may be -----------------------------------------------------------------------------------

// What `into` takes as TLS is the TLS of the other, from its first byte on.
bool Player::clean(const End& into, const End& from) {
  const bool whole = into.user == nullptr || from.plainSent == into.plainTaken;
  return into.sealed && from.sealed && !into.garbled && whole;
}

// How much of what the other has sent this one can know: without TLS, not what is sealed.
uint64_t Player::sentTo(const User& user) const {
  const End* other = otherOf(user);
  if (other == nullptr) return 0;
  return other->sealed && !user.sealed ? other->plainSent : other->sent;
}

bool Player::muddled(const User& user) const {
  const End* other = otherOf(user);
  return other != nullptr && !(clean(user, *other) && clean(*other, user));
}

bool Player::sealedShaky(const User& user) const {
  const End* other = otherOf(user);
  if (other == nullptr || user.unagreed || (!user.agreed && muddled(user))) return true;
  if (other->user != nullptr) return !other->user->live() || other->user->unagreed;
  const PeerEnd& peer = peerOf(*other);
  return peer.meddled || peer.cut || peer.gone;
}

// A handshake that both want is done in no time, unless the kernel or one of them is slow.
bool Player::mayTimeOut(const sim::KernelSocket* kernel, uint64_t since) const {
  if (now() < since + kHandshake * kMillisecond) return false;
  if (program_.chaos > 1 || everFew_ || kernel == nullptr || kernel->other == nullptr) return true;
  const auto found = ends_.find(kernel->other);
  if (found == ends_.end()) {
    const bool waits = std::any_of(groups_.begin(), groups_.end(),
                                   [](const Group& each) { return each.maxConnections > 0; });
    return waits || kernel->other->fd < 0;
  }
  const End& other = *found->second;
  const auto own = ends_.find(kernel);
  const bool begun = own == ends_.end() || !muddled(*own->second->user);
  if (!begun || !other.sealed) return true;
  if (other.user != nullptr) return !other.user->live();
  const PeerEnd& peer = peerOf(other);
  return peer.slow || peer.meddled || peer.cut || peer.gone;
}

bool Player::mayFailTls(const User& user, const Error& error) const {
  const End* other = otherOf(user);
  if (other == nullptr || noMemory()) return true;
  const bool truncated = error.code() == base::kTlsTruncated;
  if (other->user != nullptr) {
    const User& peer = *other->user;
    const bool cut = user.kernel->family == Family::unix && !peer.live();  // there is no reset
    const bool broke = peer.failed || peer.unagreed || !peer.agreed;
    return broke || cut || !user.agreed || (!truncated && shaky(user));
  }
  const PeerEnd& peer = peerOf(*other);
  if (!user.agreed) return shaky(user);
  // What came before is told first.
  const std::optional<uint64_t>& until = truncated ? peer.wholeUntil : peer.forgedAt;
  if (until && !user.muted && user.received != *until) return false;
  return peer.meddled || (truncated && peer.cut);
}

// Why the TLS of a peer may find what it cannot read, an alert for one.
bool Player::brokeTls(const PeerEnd& peer) const {
  if (peer.meddled || noMemory()) return true;
  const End* other = otherOf(peer);
  if (other == nullptr || other->user == nullptr) return false;
  return other->user->unagreed || other->user->failed || muddled(*other->user);
}

// `end` follows a close_notify, unless nobody insists on it.
bool Player::endedTls(const User& user) const {
  const End& other = *otherOf(user);
  if (other.user != nullptr) {
    const User& peer = *other.user;
    const bool said =
        peer.finished || !peer.group->halfOpen || peer.group->draining || !peer.live();
    const bool abrupt = user.kernel->family == Family::unix && !peer.live();
    return said && (abrupt || noMemory() || user.received == peer.sent);
  }
  const PeerEnd& peer = peerOf(other);
  if (user.group->manner.tolerant && (peer.cut || peer.meddled)) return true;
  return peer.finished && user.received == peer.sent;
}

// Whole or visibly broken: close_notify says that all of it came.
void Player::checkSealedEnd(const PeerEnd& peer, const User& user) {
  if (!peer.sealed) {
    expect(peer.received == user.plainSent, user, "what went before TLS did not come");
  } else if (peer.far->ended()) {
    expect(peer.received == user.sent, user, "the peer takes a part for the whole");
  } else {
    const bool cut = peer.kernel->family == Family::unix && !user.live();  // there is no reset
    expect(user.failed || user.unagreed || !user.agreed || peer.meddled || cut, user,
           "the peer was told an end without close_notify");
  }
}

// When nothing more happens: those who speak TLS have agreed, and keep nothing back.
void Player::checkSealed(const User& user) {
  const End* other = otherOf(user);
  if (!user.sealed || !user.live() || !user.opened || other == nullptr || noMemory()) return;
  if (user.kernel->phase != sim::Phase::connected || user.kernel->fd < 0) return;
  if (other->kernel->outbox.size() > 0 || user.kernel->inbox.size() > 0) return;
  const PeerEnd* peer = other->user == nullptr ? &peerOf(*other) : nullptr;
  if (peer != nullptr && (!peer->sealed || !peer->wire.empty())) return;
  const bool there = peer != nullptr ? !peer->hushed && !peer->cut && !peer->gone
                                     : other->user->live() && !other->user->unagreed;
  const bool honest = there && !muddled(user) && (peer == nullptr || !peer->meddled);
  expect(user.agreed || !honest, user, "both want TLS and do not agree");
  if (!user.agreed || user.paused || user.endTold) return;
  expect(peer == nullptr || !peer->noticed, user, "what is no TLS was not noticed");
  if (user.muted || !honest || (peer == nullptr && other->user->socket.unsentBytes() > 0)) return;
  if (peer == nullptr && !other->user->agreed) return;
  expect(user.received == other->sent, user, "bytes were opened and nobody is told");
}

}  // namespace warren::swarm
