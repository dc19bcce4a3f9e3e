;; The guest of the self-test: one export for each thing that must be stopped.
;; `guest.wasm` is this file in binary form; a test keeps the two together.
(component
  (import "sleep" (func $sleep))
  (core func $sleep (canon lower (func $sleep)))
  (core module $module
    (import "host" "sleep" (func $sleep))
    (memory (export "memory") 1)
    (func (export "loop") (loop $again (br $again)))
    (func (export "grow")
      (loop $again
        (drop (memory.grow (i32.const 16)))
        (br $again)))
    (func $recurse (export "recurse") (param i64) (result i64)
      (i64.add (call $recurse (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
    (func (export "start-recursion") (drop (call $recurse (i64.const 0))))
    (func (export "trap") unreachable)
    (func (export "sleep") (call $sleep)))
  (core instance $guest (instantiate $module
    (with "host" (instance (export "sleep" (func $sleep))))))
  (func (export "loop") (canon lift (core func $guest "loop")))
  (func (export "grow") (canon lift (core func $guest "grow")))
  (func (export "recurse") (canon lift (core func $guest "start-recursion")))
  (func (export "trap") (canon lift (core func $guest "trap")))
  (func (export "sleep") (canon lift (core func $guest "sleep"))))
