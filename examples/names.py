"""A name generator: learn first names, invent new ones."""

import charrnn

NAMES = """
ada adam adele agnes alan albert alfred alice alma amelia amos andrew angela anna anton arthur
astrid august barbara basil beatrice benjamin bernard bertha bruno camilla carl carla caroline
cecilia charles clara claudia clement conrad cora daniel david diana dora edgar edith edmund
edward eleanor elias elisa ella elsa emil emily emma erica ernest esther eugene eva felix flora
florence frances frank frederick frida gabriel george gerald gertrude gilbert gloria grace gustav
hanna harold harriet hector helen helena henry herbert herman hilda hugo ida ingrid irene irma
isabel ivan jacob james jane jasper joan john jonas josephine julia julian julius karen karl laura
lawrence leah leo leonard leona lilian linda louis louisa lucas lucia lucy ludwig lydia mabel
magda marcus margaret maria marian martha martin mary matilda maurice max melissa michael minna
mira miriam monica morris nadia natalie nathan nelly nicholas nina nora norman olga oliver olivia
oscar oswald otto paul paula peter philip rachel ralph raymond regina richard rita robert roland
rosa rosalind rose rudolf rufus ruth samuel sandra sara sebastian selma sibyl silas simon sofia
stella stephen susan sylvia theodor theresa thomas tilda tobias ursula valentin vera victor
victoria viola violet virginia walter wanda wendy wilhelm willa william winifred yvonne zelda
""".split()

model = charrnn.train_records(NAMES, seed=1, remember=True)
for name in model.generate_many(
    10, 12, temperature=0.7, seed=1, min_length=3, unique=True, novel=True
):
    print(name.title())
